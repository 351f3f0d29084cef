// The memory of a queue whose ends both move: a server's owed replies come and go with every message, so that nothing
// may be allocated or shifted for one.

/// A queue in a ring of memory that grows and never shrinks.
struct Ring<Element: BitwiseCopyable>: ~Copyable {
    private static var initialCapacity: Int { 16 }
    private var memory: UnsafeMutablePointer<Element>?
    private var capacity = 0
    private var head = 0
    private(set) var count = 0

    init() {}

    deinit { memory?.deallocate() }

    subscript(index: Int) -> Element {
        precondition(index >= 0 && index < count)
        // SAFETY: the index is below `count` ≤ `capacity`, so there is memory, and the mask keeps it inside.
        return memory.unsafelyUnwrapped[(head + index) & (capacity - 1)]
    }

    mutating func append(_ element: Element) {
        if count == capacity { grow() }
        // SAFETY: `grow` has made memory for one more.
        memory.unsafelyUnwrapped[(head + count) & (capacity - 1)] = element
        count += 1
    }

    mutating func removeFirst() {
        precondition(count > 0)
        head = (head + 1) & (capacity - 1)
        count -= 1
    }

    /// Takes out a range near the front; what stood before it moves up.
    mutating func remove(_ range: Range<Int>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= count)
        guard !range.isEmpty, let memory else { return }
        for index in (0..<range.lowerBound).reversed() {
            memory[(head + index + range.count) & (capacity - 1)] = memory[(head + index) & (capacity - 1)]
        }
        head = (head + range.count) & (capacity - 1)
        count -= range.count
    }

    private mutating func grow() {
        let larger = max(Self.initialCapacity, capacity * 2)
        let made = UnsafeMutablePointer<Element>.allocate(capacity: larger)
        for index in 0..<count { made[index] = self[index] }
        memory?.deallocate()
        memory = made
        capacity = larger
        head = 0
    }
}
