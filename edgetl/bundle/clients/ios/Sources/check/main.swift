// swift run check BUNDLE: the resizing of every golden image against the bundle's own, level by level. The app's Check button runs the rest.
import Foundation
import Steps

let bundle = URL(fileURLWithPath: CommandLine.arguments.count > 1 ? CommandLine.arguments[1] : "../..")
let manifest = try JSONDecoder().decode(Manifest.self, from: Data(contentsOf: bundle.appendingPathComponent("manifest.json")))
let golden = try JSONDecoder().decode(Golden.self, from: Data(contentsOf: bundle.appendingPathComponent("golden/golden.json")))
let most = golden.stages["resized"]?.levels ?? 0
var (compared, wrong) = (0, 0)
for entry in golden.images {
    func array(_ step: String) throws -> NpyArray? {
        try entry.stages[step].map { NpyArray(try Data(contentsOf: bundle.appendingPathComponent("golden/\($0)"))) }
    }
    guard let decoded = try array("decoded"), let expected = try array("resized") else { continue } // very large pictures lie there as files only
    let off = furthest(resized(decoded.picture, manifest.preprocess).data.map(Double.init), expected.values)
    if off > most {
        FileHandle.standardError.write(Data("\(entry.image): resized: off by up to \(off), at most \(most) expected\n".utf8))
        wrong += 1
    }
    compared += 1
}
if wrong == 0 { print("\(compared) golden images agree") }
exit(wrong == 0 ? 0 : 1)
