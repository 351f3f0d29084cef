// One state is one list: every server connection stands in exactly one list of its pool, so counts cannot lie and
// the longest-idle or longest-waiting one is found at once.
//
// The lists are intrusive and made of indices. A table holds one node for each index of a slab; a node knows its
// neighbours, when it was put where it stands, and in which list that is.
//
//     list.first → node → node → list.last        (−1 ends a list)

/// The two ends and the length of a list whose nodes live in a ``LinkTable``.
public struct LinkedList: Equatable {
    /// The index at the front, −1 when empty.
    public internal(set) var first: Int32 = -1
    /// The index at the back, −1 when empty.
    public internal(set) var last: Int32 = -1
    /// How many indices stand in the list.
    public internal(set) var count: Int32 = 0

    /// An empty list.
    public init() {}

    /// Whether nothing stands in the list.
    public var isEmpty: Bool { count == 0 }
}

/// Nodes for the indices of one slab. Memory grows in chunks as indices are used.
public struct LinkTable: ~Copyable {
    struct Node {
        var next: Int32
        var previous: Int32
        var isLinked: Bool
        var since: Int64
    }

    private static var chunkBits: Int { 10 }
    private static var chunkCount: Int { 1 << chunkBits }
    private var chunks: [UnsafeMutablePointer<Node>] = []

    /// An empty table.
    public init() {}

    deinit {
        for chunk in chunks { chunk.deallocate() }
    }

    /// Makes room for `index`; called once when the index is handed out.
    public mutating func prepare(_ index: UInt32) {
        while chunks.count <= Int(index) >> Self.chunkBits {
            let chunk = UnsafeMutablePointer<Node>.allocate(capacity: Self.chunkCount)
            chunk.initialize(
                repeating: Node(next: -1, previous: -1, isLinked: false, since: 0), count: Self.chunkCount)
            chunks.append(chunk)
        }
    }

    private func node(_ index: Int32) -> UnsafeMutablePointer<Node> {
        // SAFETY: `prepare` made the chunk; the array checks the chunk's number and the mask the place in it.
        chunks[Int(index) >> Self.chunkBits] + (Int(index) & (Self.chunkCount - 1))
    }

    /// When the index was put into the list in which it stands, in the caller's microseconds.
    public func since(_ index: UInt32) -> Int64 { node(Int32(index)).pointee.since }

    /// Whether the index stands in a list.
    public func isLinked(_ index: UInt32) -> Bool { node(Int32(index)).pointee.isLinked }

    /// The index that follows in the same list, −1 at its end.
    public func next(after index: Int32) -> Int32 { node(index).pointee.next }

    /// Puts an index at the back of a list. O(1).
    public mutating func append(_ index: UInt32, to list: inout LinkedList, now: Int64) {
        let index = Int32(index)
        let node = node(index)
        precondition(!node.pointee.isLinked)
        node.pointee = Node(next: -1, previous: list.last, isLinked: true, since: now)
        if list.last >= 0 { self.node(list.last).pointee.next = index } else { list.first = index }
        list.last = index
        list.count += 1
    }

    /// Takes an index out of the list in which it stands. O(1).
    public mutating func remove(_ index: UInt32, from list: inout LinkedList) {
        let node = node(Int32(index))
        precondition(node.pointee.isLinked)
        let (previous, next) = (node.pointee.previous, node.pointee.next)
        if previous >= 0 { self.node(previous).pointee.next = next } else { list.first = next }
        if next >= 0 { self.node(next).pointee.previous = previous } else { list.last = previous }
        node.pointee = Node(next: -1, previous: -1, isLinked: false, since: node.pointee.since)
        list.count -= 1
    }
}
