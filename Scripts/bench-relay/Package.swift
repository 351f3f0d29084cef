// swift-tools-version: 6.2
// The bare relay that Scripts/bench measures beside the poolers: it copies bytes between one client socket and one
// server socket and does nothing else, so its cost is the floor for any process in the middle. It is a package of
// its own because it is part of the bench, not of the product.
import PackageDescription

let package = Package(
    name: "bench-relay",
    targets: [
        .systemLibrary(name: "CRelay", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
        .executableTarget(
            name: "bench-relay",
            dependencies: ["CRelay"],
            swiftSettings: [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)]),
    ]
)
