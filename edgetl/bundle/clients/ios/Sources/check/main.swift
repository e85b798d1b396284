// swift run check BUNDLE: the resizing of every golden image against the bundle's own, level by level. The app's Check button runs the rest.
import Foundation
import Steps

struct Golden: Decodable {
    struct Entry: Decodable { let image: String, stages: [String: String] }
    struct Limit: Decodable { let levels: Double? }
    let images: [Entry]
    let stages: [String: Limit]
}

let bundle = URL(fileURLWithPath: CommandLine.arguments.count > 1 ? CommandLine.arguments[1] : "../..")
let manifest = try JSONDecoder().decode(Manifest.self, from: Data(contentsOf: bundle.appendingPathComponent("manifest.json")))
let golden = try JSONDecoder().decode(Golden.self, from: Data(contentsOf: bundle.appendingPathComponent("golden/golden.json")))
var wrong = 0
for entry in golden.images {
    func array(_ step: String) throws -> Steps.Array? {
        try entry.stages[step].map { Steps.Array(try Data(contentsOf: bundle.appendingPathComponent("golden/\($0)"))) }
    }
    guard let decoded = try array("decoded"), let expected = try array("resized") else { continue }
    let found = resized(decoded.picture, manifest.preprocess).data
    let off = found.count == expected.values.count ? zip(found, expected.values).map { abs(Double($0) - $1) }.max() ?? 0 : .infinity
    if off > golden.stages["resized"]?.levels ?? 0 {
        print("\(entry.image): resized: off by up to \(off)")
        wrong += 1
    }
}
if wrong == 0 { print("\(golden.images.count) golden images agree") }
exit(wrong == 0 ? 0 : 1)
