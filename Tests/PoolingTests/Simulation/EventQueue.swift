// The events to come, the earliest first; those of the same moment in the order in which they were put in.

/// A binary heap.
struct EventQueue {
    private var heap: [(time: Int64, order: Int, event: SimulatedEvent)] = []
    private var pushed = 0

    var nextTime: Int64? { heap.first?.time }

    private func isBefore(_ one: Int, _ other: Int) -> Bool {
        heap[one].time != heap[other].time ? heap[one].time < heap[other].time : heap[one].order < heap[other].order
    }

    mutating func push(at time: Int64, _ event: SimulatedEvent) {
        heap.append((time, pushed, event))
        pushed += 1
        var child = heap.count - 1
        while child > 0, isBefore(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func pop() -> SimulatedEvent? {
        guard let first = heap.first else { return nil }
        let last = heap.removeLast()
        guard !heap.isEmpty else { return first.event }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && isBefore(child, least) {
                least = child
            }
            if least == parent { return first.event }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
