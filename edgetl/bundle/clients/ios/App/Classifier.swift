// The bundle among the app's resources: model.image.onnx under onnxruntime, and the check with its golden vectors.
import CoreGraphics
import Foundation
import ImageIO
import OnnxRuntimeBindings
import Steps

final class Classifier {
    let manifest: Manifest
    private let session: ORTSession
    private let environment: ORTEnv

    init() throws {
        environment = try ORTEnv(loggingLevel: .error)
        manifest = try JSONDecoder().decode(Manifest.self, from: Classifier.data("manifest.json"))
        guard let model = Bundle.main.path(forResource: "model.image", ofType: "onnx") else {
            throw CocoaError(.fileNoSuchFile, userInfo: [NSFilePathErrorKey: "model.image.onnx"])
        }
        session = try ORTSession(env: environment, modelPath: model, sessionOptions: nil)
    }

    static func data(_ name: String) throws -> Data { try Data(contentsOf: Bundle.main.bundleURL.appendingPathComponent(name)) }

    /// The bytes of a photo as an upright picture in the network's colors; nil of what iOS does not read (graymaps).
    func decode(_ file: Data) -> Picture? {
        guard let source = CGImageSourceCreateWithData(file as CFData, nil), let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
        else { return nil }
        let said = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
        return upright(colored(image), said?[kCGImagePropertyOrientation] as? Int ?? 1)
    }

    /// A picture in the network's colors, turned as it was. The context is opaque and white below, so that nothing is premultiplied.
    func colored(_ image: CGImage) -> Picture {
        let (height, width) = (image.height, image.width)
        var rgba = [UInt8](repeating: 255, count: 4 * height * width)
        let space = image.colorSpace?.model == .rgb ? image.colorSpace! : CGColorSpaceCreateDeviceRGB() // values as they are: no profile
        let context = CGContext(
            data: &rgba, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width, space: space,
            bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)!
        context.setFillColor(CGColor(gray: 1, alpha: 1))
        context.fill(CGRect(x: 0, y: 0, width: width, height: height))
        context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
        for i in stride(from: 3, to: rgba.count, by: 4) { rgba[i] = 255 }
        return Steps.colored(rgba, height: height, width: width, gray: manifest.preprocess.color == "gray")
    }

    /// A picture at the network's size -> a probability for each class, and the logits.
    func run(_ picture: Picture) throws -> (probabilities: [Float], logits: [Float]) {
        let shape = [1, picture.height, picture.width, picture.channels].map { NSNumber(value: $0) }
        let pixels = try ORTValue(tensorData: NSMutableData(data: Data(picture.data)), elementType: .uInt8, shape: shape)
        let found = try session.run(withInputs: ["image": pixels], outputNames: ["probabilities", "logits"], runOptions: nil)
        func row(_ name: String) throws -> [Float] {
            try (found[name]!.tensorData() as Data).withUnsafeBytes { [Float]($0.bindMemory(to: Float.self)) }
        }
        return (try row("probabilities"), try row("logits"))
    }

    func classify(_ image: CGImage) throws -> (name: String, confidence: Float, decision: String) {
        decided(try run(resized(colored(image), manifest.preprocess)).probabilities, manifest)
    }

    /// Runs the golden vectors, each step on the golden result of the step before: the first step of each image that disagrees.
    func check() throws -> [String] {
        let golden = try JSONDecoder().decode(Golden.self, from: Classifier.data("golden/golden.json"))
        return try golden.images.compactMap { entry in try firstWrongStep(entry, golden).map { "\(entry.image): \($0)" } }
    }

    private func firstWrongStep(_ entry: Golden.Entry, _ golden: Golden) throws -> String? {
        let allowed = golden.stages
        func array(_ step: String) throws -> NpyArray? {
            try entry.stages[step].map { NpyArray(try Classifier.data("golden/\($0)")) }
        }
        func wrong(_ step: String, _ found: [Double], _ expected: [Double], _ most: Double) -> String? {
            let off = furthest(found, expected)
            return off <= most ? nil : "\(step): off by up to \(off), at most \(most) expected"
        }
        let decoded = try array("decoded")
        let small = try array("resized")!
        let name = entry.stages["file"]!
        let unread = (manifest.preprocess.bits ?? 16) < 16 && name.hasSuffix(".png") // iOS keeps the highest 8 of 16 bits
        let own = unread ? nil : decode(try Classifier.data("golden/\(name)"))
        if own == nil, [".jpg", ".jpeg"].contains(where: name.hasSuffix) { return "decoded: iOS cannot read it" }
        let same = own != nil && own?.data.count == decoded?.values.count
        if same, let said = wrong("decoded", own!.data.map(Double.init), decoded!.values, allowed["decoded"]?.levels ?? 0) { return said }
        func atSize(_ step: String, _ picture: Picture, _ most: Double) -> String? {
            wrong(step, resized(picture, manifest.preprocess).data.map(Double.init), small.values, most)
        }
        if let decoded, let said = atSize("resized", decoded.picture, allowed["resized"]?.levels ?? 0) { return said }
        if !same, let own, let said = atSize(decoded == nil ? "resized" : "decoded", own, golden.full_decode_levels) { return said } // comparable once it is resized
        let (probabilities, logits) = try run(small.picture)
        let expected = try array("logits")!.values
        let most = (allowed["logits"]?.abs ?? 0) + (allowed["logits"]?.rel ?? 0) * (expected.map { abs($0) }.max() ?? 0)
        if let said = wrong("logits", logits.map(Double.init), expected, most) { return said }
        let shares = entry.top.map { share in manifest.classes.firstIndex(of: share.name).map { Double(probabilities[$0]) } ?? .nan }
        if let said = wrong("probabilities", shares, entry.top.map(\.value), allowed["probabilities"]?.graph_abs ?? 0) { return said }
        guard let right = entry.decision else { return nil } // rounding decides
        var likeliest = [Float](repeating: 0, count: manifest.classes.count) // the golden shares
        for share in entry.top { likeliest[manifest.classes.firstIndex(of: share.name)!] = Float(share.value) }
        let found = decided(likeliest, manifest)
        if found.name != entry.answers["model.onnx"] { return "class: \(found.name), expected \(entry.answers["model.onnx"] ?? "")" }
        return found.decision == right ? nil : "decision: \(found.decision), expected \(right)"
    }
}
