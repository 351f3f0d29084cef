// Cells that never move: clients, servers and pools live here and are named by index and generation, not by
// reference, so the data path neither retains nor releases anything. Memory grows in chunks and is used again,
// the last freed cell first.

/// A growing store of cells with stable addresses.
struct Slab<Cell: ~Copyable>: ~Copyable {
    private static var chunkBits: Int { 8 }
    private static var chunkCount: Int { 1 << chunkBits }

    private var chunks: UnsafeMutablePointer<UnsafeMutablePointer<Cell>>
    private let chunksMax: Int
    private var chunkTotal = 0
    private var free: [UInt32] = []
    private var generations: [UInt32] = []
    private var live: [Bool] = []

    /// How many cells are in use.
    private(set) var count = 0

    /// - Parameter cellsMax: more cells than this are never handed out.
    init(cellsMax: Int) {
        chunksMax = (cellsMax + Self.chunkCount - 1) / Self.chunkCount
        chunks = .allocate(capacity: chunksMax)
    }

    deinit {
        for index in 0..<live.count where live[index] {
            (chunks[index >> Self.chunkBits] + (index & (Self.chunkCount - 1))).deinitialize(count: 1)
        }
        for index in 0..<chunkTotal { chunks[index].deallocate() }
        chunks.deallocate()
    }

    /// The cell at an index that was handed out.
    @inline(__always)
    subscript(index: UInt32) -> UnsafeMutablePointer<Cell> {
        let chunk = Int(index) >> Self.chunkBits
        precondition(chunk < chunkTotal)
        // SAFETY: the chunk exists by the check above, and the mask keeps the index inside it.
        return chunks[chunk] + (Int(index) & (Self.chunkCount - 1))
    }

    /// One past the highest index that was ever handed out: the range to walk with `isLive`.
    var indexEnd: UInt32 { UInt32(live.count) }

    /// Whether a cell is in use.
    func isLive(_ index: UInt32) -> Bool { Int(index) < live.count && live[Int(index)] }

    /// Whether a cell is in use and still the one that was meant.
    func isLive(_ index: UInt32, generation: UInt32) -> Bool {
        isLive(index) && generations[Int(index)] == generation
    }

    /// The generation of the cell at an index: it changes each time the index is handed out.
    func generation(_ index: UInt32) -> UInt32 { generations[Int(index)] }

    /// Hands out a cell, made by `make`; nil when there are no more.
    mutating func insert(_ make: (_ index: UInt32, _ generation: UInt32) -> Cell) -> UInt32? {
        let index: UInt32
        if let reused = free.popLast() {
            index = reused
        } else {
            guard live.count < chunksMax << Self.chunkBits else { return nil }
            index = UInt32(live.count)
            if live.count >> Self.chunkBits == chunkTotal {
                chunks[chunkTotal] = .allocate(capacity: Self.chunkCount)
                chunkTotal += 1
            }
            live.append(false)
            generations.append(0)
        }
        generations[Int(index)] &+= 1
        live[Int(index)] = true
        count += 1
        self[index].initialize(to: make(index, generations[Int(index)]))
        return index
    }

    /// Takes a cell back.
    mutating func remove(_ index: UInt32) {
        precondition(isLive(index))
        self[index].deinitialize(count: 1)
        live[Int(index)] = false
        free.append(index)
        count -= 1
    }
}
