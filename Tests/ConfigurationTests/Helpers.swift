// Files that exist only in a test, and a small seeded generator of chance.

import Testing

@testable import Configuration

/// Loads `weir.ini` from a dictionary of files.
func load(_ files: [String: String], path: String = "weir.ini") -> Result<Configuration, ConfigurationErrors> {
    loadConfiguration(path: path) { name in
        files[name].map(Result.success) ?? .failure(FileError(reason: "No such file or directory"))
    }
}

/// Loads a main section after `head`, with trust so that no auth_file is needed.
func loadSettings(_ lines: String) throws -> Settings {
    try load(["weir.ini": "[weir]\nauth_type = trust\n" + lines]).get().settings
}

/// The error lines of files that must not load.
func errorLines(_ files: [String: String], path: String = "weir.ini") -> [String] {
    switch load(files, path: path) {
    case .success: []
    case .failure(let errors): errors.errors.map(\.description)
    }
}

/// SplitMix64: the same numbers for the same seed, everywhere.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
