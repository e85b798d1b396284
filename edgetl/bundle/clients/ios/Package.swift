// swift-tools-version:5.9
// `swift build` and `swift run check BUNDLE` run the numeric steps on macOS or Linux; the app itself is App/, made into a project by
// XcodeGen (App/project.yml): brew install xcodegen && cd App && xcodegen && open Classify.xcodeproj
import PackageDescription

let package = Package(
    name: "Classify",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [.library(name: "Steps", targets: ["Steps"])],
    targets: [
        .target(name: "Steps"),
        .executableTarget(name: "check", dependencies: ["Steps"]),
    ]
)
