// swift-tools-version: 6.2
import PackageDescription

/// Warnings are errors, and every module speaks Swift 6.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

/// The data path crosses module borders for every message; its leaf functions must be inlined there.
let fast = strict + [.unsafeFlags(["-cross-module-optimization"], .when(configuration: .release))]

let package = Package(
    name: "weir",
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0")
    ],
    targets: [
        .systemLibrary(name: "CLinux", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .target(name: "Wire", dependencies: ["COpenSSL"], swiftSettings: fast),
        .target(name: "SQLText", swiftSettings: fast),
        .target(name: "Configuration", swiftSettings: strict),
        .target(name: "Pooling", dependencies: ["Wire", "SQLText"], swiftSettings: fast),
        .target(name: "Console", dependencies: ["Wire"], swiftSettings: strict),
        .target(name: "Reactor", dependencies: ["CLinux"], swiftSettings: fast),
        .target(
            name: "Engine",
            dependencies: ["Wire", "Configuration", "Pooling", "Console", "Reactor", "CLinux"],
            swiftSettings: fast),
        .executableTarget(
            name: "weir",
            dependencies: [
                "Engine", "Console",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
        // A measuring device, no part of the product: see Scripts/bench.
        .executableTarget(
            name: "bench-statements", dependencies: ["SQLText", "Pooling"], path: "Scripts/bench-statements",
            swiftSettings: fast),
        .testTarget(name: "WireTests", dependencies: ["Wire"], swiftSettings: strict),
        .testTarget(name: "SQLTextTests", dependencies: ["SQLText"], swiftSettings: strict),
        .testTarget(name: "ConfigurationTests", dependencies: ["Configuration"], swiftSettings: strict),
        .testTarget(name: "PoolingTests", dependencies: ["Pooling", "Wire"], swiftSettings: strict),
        .testTarget(name: "ConsoleTests", dependencies: ["Console"], swiftSettings: strict),
        .testTarget(
            name: "EngineTests", dependencies: ["Engine", "Configuration", "Pooling", "Wire"],
            swiftSettings: strict),
        .testTarget(name: "ReactorTests", dependencies: ["Reactor"], swiftSettings: strict),
    ]
)
