// The screen: the camera's pictures in, the answer below them.
package classify

import android.Manifest
import android.graphics.Bitmap
import android.graphics.Matrix
import android.os.Bundle
import android.widget.Button
import android.widget.TextView
import androidx.activity.result.contract.ActivityResultContracts
import androidx.appcompat.app.AppCompatActivity
import androidx.camera.core.CameraSelector
import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy
import androidx.camera.core.Preview
import androidx.camera.lifecycle.ProcessCameraProvider
import androidx.camera.view.PreviewView
import androidx.core.content.ContextCompat
import java.util.concurrent.Executors

class MainActivity : AppCompatActivity() {
    private val worker = Executors.newSingleThreadExecutor()
    private val classifier by lazy { Classifier(assets) }
    private val answer by lazy { findViewById<TextView>(R.id.answer) }
    private val asked = registerForActivityResult(ActivityResultContracts.RequestPermission()) { granted ->
        if (granted) watch() else answer.setText(R.string.no_camera)
    }

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.main)
        findViewById<Button>(R.id.check).setOnClickListener {
            worker.execute { say(classifier.check().joinToString("\n").ifEmpty { "golden images agree" }) }
        }
        asked.launch(Manifest.permission.CAMERA)
    }

    private fun watch() {
        val coming = ProcessCameraProvider.getInstance(this)
        coming.addListener({
            val preview = Preview.Builder().build()
            preview.surfaceProvider = findViewById<PreviewView>(R.id.preview).surfaceProvider
            val analysis = ImageAnalysis.Builder()
                .setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST)
                .setOutputImageFormat(ImageAnalysis.OUTPUT_IMAGE_FORMAT_RGBA_8888)
                .build()
            analysis.setAnalyzer(worker, ::look)
            coming.get().bindToLifecycle(this, CameraSelector.DEFAULT_BACK_CAMERA, preview, analysis)
        }, ContextCompat.getMainExecutor(this))
    }

    private fun look(image: ImageProxy) = image.use {
        val turn = Matrix().apply { postRotate(it.imageInfo.rotationDegrees.toFloat()) }
        val frame = it.toBitmap()
        val (name, confidence, decision) = classifier.classify(Bitmap.createBitmap(frame, 0, 0, frame.width, frame.height, turn, true))
        say(getString(if (decision == name) R.string.sure else R.string.not_sure, name, (100 * confidence).toInt()))
    }

    private fun say(text: String) = runOnUiThread { answer.text = text }

    override fun onDestroy() {
        super.onDestroy()
        worker.execute { classifier.close() }
        worker.shutdown()
    }
}
