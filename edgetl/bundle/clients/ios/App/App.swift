// The screen: the camera's pictures in, the answer below them.
import AVFoundation
import CoreImage
import SwiftUI

@main
struct ClassifyApp: App {
    var body: some Scene { WindowGroup { Screen() } }
}

struct Screen: View {
    @StateObject private var camera = Camera()

    var body: some View {
        VStack {
            CameraView(session: camera.session).accessibilityLabel("Camera")
            Text(camera.answer).font(.title2).padding().accessibilityAddTraits(.updatesFrequently)
            Button("Check") { camera.check() }.padding(.bottom)
        }
        .task { await camera.start() }
    }
}

/// The session and the classifier are used on `queue`, the answer on the main one.
final class Camera: NSObject, ObservableObject, AVCaptureVideoDataOutputSampleBufferDelegate, @unchecked Sendable {
    @Published var answer = "Looking …"
    let session = AVCaptureSession()
    private let queue = DispatchQueue(label: "classify")
    private let classifier = Result { try Classifier() }
    private let context = CIContext(options: [.workingColorSpace: NSNull()])

    func start() async {
        if case .failure(let error) = classifier { return say("The bundle cannot be read: \(error.localizedDescription)") }
        guard await AVCaptureDevice.requestAccess(for: .video), let device = AVCaptureDevice.default(for: .video),
            let input = try? AVCaptureDeviceInput(device: device)
        else { return say("The camera may not be used. Allow it in the settings.") }
        let output = AVCaptureVideoDataOutput()
        output.alwaysDiscardsLateVideoFrames = true
        output.videoSettings = [kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA]
        output.setSampleBufferDelegate(self, queue: queue)
        session.addInput(input)
        session.addOutput(output)
        output.connection(with: .video)?.videoOrientation = .portrait
        queue.async { self.session.startRunning() }
    }

    func captureOutput(_: AVCaptureOutput, didOutput buffer: CMSampleBuffer, from _: AVCaptureConnection) {
        guard let pixels = CMSampleBufferGetImageBuffer(buffer), let classifier = try? classifier.get() else { return }
        let frame = CIImage(cvPixelBuffer: pixels)
        guard let image = context.createCGImage(frame, from: frame.extent), let found = try? classifier.classify(image) else { return }
        let percent = Int(100 * found.confidence)
        say(found.decision == found.name ? "\(found.name) (\(percent)%)" : "Not sure. Maybe \(found.name) (\(percent)%)")
    }

    func check() {
        queue.async {
            self.session.stopRunning()
            do {
                let wrong = try self.classifier.get().check()
                self.say(wrong.isEmpty ? "golden images agree" : wrong.joined(separator: "\n"))
            } catch { self.say("The check cannot run: \(error.localizedDescription)") }
        }
    }

    private func say(_ text: String) { DispatchQueue.main.async { self.answer = text } }
}

struct CameraView: UIViewRepresentable {
    let session: AVCaptureSession

    final class Layered: UIView {
        override class var layerClass: AnyClass { AVCaptureVideoPreviewLayer.self }
    }

    func makeUIView(context _: Context) -> Layered {
        let view = Layered()
        (view.layer as! AVCaptureVideoPreviewLayer).session = session
        return view
    }

    func updateUIView(_: Layered, context _: Context) {}
}
