// swift-tools-version: 6.1
import PackageDescription

/// The C kernels are optimised in every configuration: at -O0 a matrix product is forty times slower.
let kernelFlags: [CSetting] = [.unsafeFlags(["-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"])]

let swiftFlags: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: swiftFlags)
}

func tests(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .testTarget(name: name + "Tests", dependencies: [.byName(name: name)] + dependencies, swiftSettings: swiftFlags)
}

let package = Package(
    name: "espalier",
    products: [.executable(name: "espalier", targets: ["espalier"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // Level 0: no dependency inside the package but Diagnostics, the one form of every error.
        .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
        .systemLibrary(name: "CPCRE2", pkgConfig: "libpcre2-8", providers: [.apt(["libpcre2-dev"])]),
        .systemLibrary(
            name: "CSentencePieceLibrary", pkgConfig: "sentencepiece", providers: [.apt(["libsentencepiece-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .target(name: "CLinux", publicHeadersPath: "."),
        .target(name: "CKernels", cSettings: kernelFlags, linkerSettings: [.linkedLibrary("m")]),
        .target(name: "CSentencePiece", dependencies: ["CSentencePieceLibrary"]),
        library("Diagnostics"),
        library("StrictJSON", ["Diagnostics"]),
        library("Batches"),
        // Level 1
        library("Autograd", ["CKernels", "COpenBLAS"]),
        library("Tokenization", ["StrictJSON", "CPCRE2", "CSentencePiece", "Diagnostics"]),
        // Level 2
        library("NN", ["Autograd", "CKernels"]),
        library("Formats", ["StrictJSON", "CKernels", "COpenSSL", "CPCRE2", "CLinux", "Diagnostics"]),
        library("Datasets", ["CZlib", "CZstd", "Autograd", "Tokenization", "Batches", "StrictJSON", "Diagnostics"]),
        // Level 3
        library(
            "Models", ["NN", "Autograd", "CKernels", "Formats", "Batches", "StrictJSON", "Diagnostics", "Tokenization"]),
        // Level 4
        library(
            "Training", ["Models", "NN", "Autograd", "Formats", "Batches", "StrictJSON", "Diagnostics"]),
        library("Checkpoints", ["Formats", "StrictJSON", "Diagnostics", "CLinux"]),
        library("Evaluation", ["Models", "Datasets", "Tokenization", "Batches", "StrictJSON", "Diagnostics"]),
        // Level 5
        library(
            "Benchmarks",
            [
                "Training", "Models", "NN", "Autograd", "CKernels", "Formats", "Datasets", "Tokenization", "Batches",
                "StrictJSON", "Diagnostics",
            ]),
        library(
            "Recipes",
            [
                "Checkpoints", "Training", "Evaluation", "Models", "NN", "Autograd", "Datasets", "Tokenization",
                "Formats", "Batches", "StrictJSON",
                "Diagnostics", .product(name: "Yams", package: "Yams"),
            ]),
        // Level 6
        .executableTarget(
            name: "espalier",
            dependencies: [
                "Recipes", "Benchmarks", "Training", "Evaluation", "Models", "NN", "Autograd", "CKernels", "Datasets",
                "Tokenization", "Formats", "Batches", "StrictJSON", "Diagnostics",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: swiftFlags),
        // Tests
        .target(
            name: "TestSupport", dependencies: ["Autograd", "StrictJSON"], path: "Tests/TestSupport",
            swiftSettings: swiftFlags),
        .target(
            name: "FuzzInputs",
            dependencies: [
                "TestSupport", "Recipes", "Checkpoints", "Models", "Autograd", "Datasets", "Tokenization", "Formats",
                "Batches", "StrictJSON", "Diagnostics",
            ],
            path: "Tests/FuzzInputs", swiftSettings: swiftFlags),
        .testTarget(
            name: "FuzzTests", dependencies: ["FuzzInputs", "TestSupport", "Diagnostics"], swiftSettings: swiftFlags),
        tests("StrictJSON", ["Diagnostics"]),
        tests("Checkpoints", ["Formats", "StrictJSON", "Diagnostics", "TestSupport"]),
        tests("Batches"),
        tests(
            "Benchmarks",
            [
                "TestSupport", "Training", "Models", "NN", "Autograd", "Formats", "Tokenization", "Batches",
                "Diagnostics",
            ]),
        tests("Tokenization", ["TestSupport", "StrictJSON", "Diagnostics"]),
        tests("Formats", ["TestSupport", "StrictJSON", "CKernels", "Diagnostics"]),
        tests("Datasets", ["TestSupport", "Autograd", "Tokenization", "Batches", "StrictJSON", "Diagnostics"]),
        tests(
            "Recipes",
            ["TestSupport", "NN", "Datasets", "Evaluation", "Tokenization", "Batches", "StrictJSON", "Diagnostics"]),
        tests("Evaluation", ["TestSupport", "Datasets", "StrictJSON", "Diagnostics"]),
        tests("CKernels", ["TestSupport", "Autograd"]),
        tests("Autograd", ["TestSupport", "CKernels"]),
        tests("NN", ["TestSupport", "Autograd", "Formats", "StrictJSON"]),
        .testTarget(
            name: "EspalierTests",
            dependencies: [
                "espalier", "TestSupport", "StrictJSON", "Formats", "Diagnostics", "Models", "Tokenization", "Datasets",
                "Checkpoints", "Training", "Recipes",
            ],
            swiftSettings: swiftFlags),
        tests(
            "Models",
            ["TestSupport", "Tokenization", "Autograd", "NN", "Formats", "Batches", "StrictJSON", "Diagnostics"]),
        tests(
            "Training", ["TestSupport", "Models", "Autograd", "NN", "Formats", "Batches", "StrictJSON", "Diagnostics"]),
    ],
    swiftLanguageModes: [.v6],
    cxxLanguageStandard: .cxx17
)

// Everything is built for libFuzzer then: only on demand (`make fuzz`).
if Context.environment["ESPALIER_FUZZER"] != nil {
    package.targets.append(
        .executableTarget(
            name: "espalier-fuzzer", dependencies: ["FuzzInputs", "TestSupport", "Diagnostics"], path: "Tests/Fuzzer",
            swiftSettings: swiftFlags))
}
