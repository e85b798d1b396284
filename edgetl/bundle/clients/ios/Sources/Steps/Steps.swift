// The steps from pixels to a decision, as manifest.json says them. Foundation only: nothing of iOS.
import Foundation

/// Rows from the top, channels last (RGB, or one of gray).
public struct Picture: Equatable {
    public let height: Int, width: Int, channels: Int
    public var data: [UInt8]

    public init(height: Int, width: Int, channels: Int, data: [UInt8]) {
        (self.height, self.width, self.channels, self.data) = (height, width, channels, data)
    }
}

/// One number for both, or height and width.
public struct Sides: Decodable {
    public let height: Int, width: Int

    public init(from decoder: Decoder) throws {
        let value = try decoder.singleValueContainer()
        if let side = try? value.decode(Int.self) {
            (height, width) = (side, side)
        } else {
            let sides = try value.decode([Int].self)
            (height, width) = (sides[0], sides[1])
        }
    }
}

/// What manifest.json says of a picture's way to the network.
public struct Preprocess: Decodable {
    public let size: Sides, resize: Sides
    public let filter: String, color: String
    public let fit: String?
    public let fill: Int?, bits: Int?
}

/// What manifest.json says of decisions; without a threshold every answer is given.
public struct DecisionRule: Decodable {
    public let threshold: Double?
    public let unknown: String
}

public struct Manifest: Decodable {
    public let classes: [String]
    public let preprocess: Preprocess
    public let decision: DecisionRule?
}

private let one = 1 << 22 // Pillow's weights are whole numbers of this fraction

private func sinc(_ x: Double) -> Double { x == 0 ? 1 : sin(Double.pi * x) / (Double.pi * x) }

private func reach(_ filter: String) -> Double { filter == "bilinear" ? 1 : filter == "bicubic" ? 2 : 3 }

private func weight(_ filter: String, _ at: Double) -> Double {
    let x = abs(at)
    switch filter {
    case "bilinear": return max(0, 1 - x)
    case "bicubic": return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0
    default: return x < 3 ? sinc(x) * sinc(x / 3) : 0
    }
}

/// For each new pixel along one side, the window it is the mean of. It grows as the side shrinks: antialias.
private func windows(_ before: Int, _ after: Int, _ filter: String) -> [(from: Int, weights: [Int])] {
    let scale = Double(before) / Double(after)
    let wide = max(1, scale)
    let far = reach(filter) * wide
    return (0..<after).map { at in
        let center = (Double(at) + 0.5) * scale
        let from = max(0, Int(center - far + 0.5))
        let to = min(before, Int(center + far + 0.5))
        let raw = (from..<to).map { weight(filter, (Double($0) - center + 0.5) / wide) }
        let sum = raw.reduce(0, +)
        return (from, raw.map { Int($0 / sum * Double(one) + ($0 < 0 ? -0.5 : 0.5)) })
    }
}

private func pass(_ p: Picture, _ height: Int, _ width: Int, _ plan: [(from: Int, weights: [Int])], vertical: Bool) -> Picture {
    var made = Picture(height: height, width: width, channels: p.channels, data: [UInt8](repeating: 0, count: height * width * p.channels))
    let step = vertical ? p.width * p.channels : p.channels
    for y in 0..<height {
        for x in 0..<width {
            let window = plan[vertical ? y : x]
            let start = vertical ? window.from * step + x * p.channels : (y * p.width + window.from) * p.channels
            for c in 0..<p.channels {
                var sum = one / 2
                for (i, w) in window.weights.enumerated() { sum += w * Int(p.data[start + c + i * step]) }
                made.data[(y * width + x) * p.channels + c] = UInt8(min(255, max(0, sum >> 22)))
            }
        }
    }
    return made
}

/// Bit for bit as Pillow resizes: along the rows, then along the columns.
public func resample(_ p: Picture, height: Int, width: Int, filter: String) -> Picture {
    let across = width == p.width ? p : pass(p, p.height, width, windows(p.width, width, filter), vertical: false)
    return height == across.height ? across : pass(across, height, width, windows(across.height, height, filter), vertical: true)
}

/// The center of a picture; where it is smaller, it lies in the middle of pixels of the gray level `fill`.
private func placed(_ p: Picture, _ height: Int, _ width: Int, _ fill: Int) -> Picture {
    var made = Picture(height: height, width: width, channels: p.channels, data: [UInt8](repeating: UInt8(fill), count: height * width * p.channels))
    let top = Int((Double(p.height - height) / 2).rounded(.toNearestOrEven))
    let left = Int((Double(p.width - width) / 2).rounded(.toNearestOrEven))
    let rows = max(0, -top)..<max(max(0, -top), min(height, p.height - top))
    let columns = max(0, -left)..<max(max(0, -left), min(width, p.width - left))
    for y in rows {
        for x in columns {
            for c in 0..<p.channels {
                made.data[(y * width + x) * p.channels + c] = p.data[((y + top) * p.width + x + left) * p.channels + c]
            }
        }
    }
    return made
}

/// A decoded picture at the network's size: what model.image.onnx takes.
public func resized(_ picture: Picture, _ p: Preprocess) -> Picture {
    let fit = p.fit ?? "crop"
    var (height, width) = (p.resize.height, p.resize.width)
    if fit != "squash" {
        let crop = fit == "crop"
        let byWidth = (picture.height * p.resize.width >= picture.width * p.resize.height) == crop
        let other = byWidth
            ? Double(p.resize.width) * Double(picture.height) / Double(picture.width)
            : Double(p.resize.height) * Double(picture.width) / Double(picture.height)
        let rounded = crop ? Int(other) : max(1, Int(other.rounded(.toNearestOrEven)))
        if byWidth { height = rounded } else { width = rounded }
    }
    var fitted = resample(picture, height: height, width: width, filter: p.filter)
    if fit == "pad" { fitted = placed(fitted, p.resize.height, p.resize.width, p.fill ?? 0) }
    return placed(fitted, p.size.height, p.size.width, 0)
}

/// RGBA pixels, not premultiplied -> the network's colors; what is transparent lies on white.
public func colored(_ rgba: [UInt8], height: Int, width: Int, gray: Bool) -> Picture {
    let channels = gray ? 1 : 3
    var data = [UInt8](repeating: 0, count: height * width * channels)
    for i in 0..<(height * width) {
        let alpha = Int(rgba[4 * i + 3])
        let rgb = (0..<3).map { c -> Int in
            let sum = Int(rgba[4 * i + c]) * alpha * 128 + 255 * (255 - alpha) * 128 + 16384
            return (((sum >> 8) + sum) >> 8) >> 7
        }
        if gray {
            data[i] = UInt8((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 32768) >> 16)
        } else {
            for c in 0..<3 { data[3 * i + c] = UInt8(rgb[c]) }
        }
    }
    return Picture(height: height, width: width, channels: channels, data: data)
}

/// A picture as its EXIF orientation (1 to 8) says it is to be looked at.
public func upright(_ picture: Picture, _ orientation: Int) -> Picture {
    let turned = (5...8).contains(orientation) // width and height change places
    let (height, width) = turned ? (picture.width, picture.height) : (picture.height, picture.width)
    let (leftward, upward) = ([2, 3, 7, 8].contains(orientation), [3, 4, 6, 7].contains(orientation))
    var data = [UInt8](repeating: 0, count: picture.data.count)
    for y in 0..<height {
        for x in 0..<width {
            let (across, down) = turned ? (y, x) : (x, y)
            let column = leftward ? picture.width - 1 - across : across
            let row = upward ? picture.height - 1 - down : down
            for c in 0..<picture.channels {
                data[(y * width + x) * picture.channels + c] = picture.data[(row * picture.width + column) * picture.channels + c]
            }
        }
    }
    return Picture(height: height, width: width, channels: picture.channels, data: data)
}

/// The likeliest class with its probability, and the decision: that class, or "unknown".
public func decided(_ probabilities: [Float], _ manifest: Manifest) -> (name: String, confidence: Float, decision: String) {
    let best = probabilities.indices.max { probabilities[$0] < probabilities[$1] }!
    let name = manifest.classes[best]
    guard let rule = manifest.decision, let threshold = rule.threshold, Double(probabilities[best]) < threshold else {
        return (name, probabilities[best], name)
    }
    return (name, probabilities[best], rule.unknown)
}

/// A .npy file of uint8 or float32.
public struct NpyArray {
    public let shape: [Int]
    public let values: [Double]

    public init(_ file: Data) {
        let bytes = [UInt8](file)
        func little(_ at: Int, _ count: Int) -> UInt32 { (0..<count).reduce(UInt32(0)) { $0 | UInt32(bytes[at + $1]) << (8 * $1) } }
        let long = bytes[6] > 1
        let start = long ? 12 + Int(little(8, 4)) : 10 + Int(little(8, 2))
        let head = String(decoding: bytes[..<start], as: UTF8.self)
        let inside = head.components(separatedBy: "'shape': (")[1].components(separatedBy: ")")[0]
        shape = inside.split(separator: ",").compactMap { Int($0.trimmingCharacters(in: .whitespaces)) }
        if head.contains("|u1") {
            values = bytes[start...].map(Double.init)
        } else {
            values = stride(from: start, to: bytes.count, by: 4).map { Double(Float(bitPattern: little($0, 4))) }
        }
    }

    public var picture: Picture {
        Picture(height: shape[0], width: shape[1], channels: shape.count > 2 ? shape[2] : 1, data: values.map { UInt8($0) })
    }
}

/// What golden/golden.json says.
public struct Golden: Decodable {
    public struct Share: Decodable {
        public let name: String, value: Double

        public init(from decoder: Decoder) throws {
            var pair = try decoder.unkeyedContainer()
            name = try pair.decode(String.self)
            value = try pair.decode(Double.self)
        }
    }
    public struct Entry: Decodable { public let image: String, stages: [String: String], answers: [String: String], top: [Share], decision: String? }
    public struct Limit: Decodable { public let levels: Double?, abs: Double?, rel: Double?, graph_abs: Double? }
    public let images: [Entry]
    public let stages: [String: Limit]
    public let full_decode_levels: Double
}

/// By how much two rows of numbers differ at most; infinity where they have not as many, or something is no number.
public func furthest(_ found: [Double], _ expected: [Double]) -> Double {
    if found.count != expected.count { return .infinity }
    return zip(found, expected).map { abs($0 - $1) }.reduce(0) { $1.isNaN ? .infinity : max($0, $1) }
}
