// The bundle in the app's assets: model.image.onnx under onnxruntime, and the check with its golden vectors.
package classify

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import android.content.res.AssetManager
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.media.ExifInterface
import org.json.JSONArray
import org.json.JSONObject
import java.io.ByteArrayInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder

private fun JSONArray.strings() = List(length()) { getString(it) }

private fun sizes(value: Any): Pair<Int, Int> = if (value is JSONArray) Pair(value.getInt(0), value.getInt(1)) else Pair(value as Int, value)

/** A .npy file of uint8 or float32: shape and numbers. */
class NpyArray(val shape: List<Int>, val values: DoubleArray) {
    fun picture() = Picture(shape[0], shape[1], shape.getOrElse(2) { 1 }, ByteArray(values.size) { values[it].toInt().toByte() })

    companion object {
        fun read(bytes: ByteArray): NpyArray {
            val buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
            val start = if (bytes[6] > 1) 12 + buffer.getInt(8) else 10 + buffer.getShort(8)
            val head = String(bytes, 0, start, Charsets.ISO_8859_1)
            val shape = Regex("'shape': \\(([^)]*)\\)").find(head)!!.groupValues[1].split(",").mapNotNull { it.trim().toIntOrNull() }
            val small = "|u1" in head
            val count = (bytes.size - start) / if (small) 1 else 4
            return NpyArray(shape, DoubleArray(count) { if (small) (bytes[start + it].toInt() and 255).toDouble() else buffer.getFloat(start + 4 * it).toDouble() })
        }
    }
}

class Classifier(private val assets: AssetManager) : AutoCloseable {
    private val manifest = JSONObject(String(bytes("manifest.json")))
    private val said = manifest.getJSONObject("preprocess")
    private val environment = OrtEnvironment.getEnvironment().apply { setTelemetry(false) }
    private val session = environment.createSession(bytes("model.image.onnx"))
    val classes = manifest.getJSONArray("classes").strings()
    val preprocess = Preprocess(
        size = sizes(said.get("size")),
        resize = sizes(said.get("resize")),
        filter = said.getString("filter"),
        fit = said.optString("fit", "crop"),
        fill = said.optInt("fill", 0),
        gray = said.getString("color") == "gray",
    )
    val rule = manifest.optJSONObject("decision")?.let {
        DecisionRule(if (it.isNull("threshold")) null else it.getDouble("threshold"), it.getString("unknown"))
    }

    private fun bytes(name: String) = assets.open(name).use { it.readBytes() }

    /** A bitmap of four bytes a pixel -> the network's colors. getPixels would apply the color profile; these are the file's own values. */
    fun colored(bitmap: Bitmap): Picture {
        val rgba = ByteBuffer.allocate(bitmap.byteCount).apply { bitmap.copyPixelsToBuffer(this) } // big-endian: red is the highest byte
        val argb = IntArray(bitmap.width * bitmap.height) { Integer.rotateRight(rgba.getInt(4 * it), 8) }
        return colored(argb, bitmap.height, bitmap.width, preprocess.gray)
    }

    /** The bytes of a photo -> an upright picture in the network's colors; null of what Android does not read (graymaps, TIFF). */
    fun decode(file: ByteArray): Picture? {
        val plain = BitmapFactory.Options().apply { inPremultiplied = false }
        val bitmap = BitmapFactory.decodeByteArray(file, 0, file.size, plain) ?: return null
        val exif = ExifInterface(ByteArrayInputStream(file))
        return upright(colored(bitmap), exif.getAttributeInt(ExifInterface.TAG_ORIENTATION, ExifInterface.ORIENTATION_NORMAL))
    }

    /** A picture at the network's size -> a probability for each class, and the logits. */
    fun run(picture: Picture): Pair<FloatArray, FloatArray> {
        val shape = longArrayOf(1, picture.height.toLong(), picture.width.toLong(), picture.channels.toLong())
        val pixels = ByteBuffer.allocateDirect(picture.data.size).put(picture.data).apply { rewind() }
        OnnxTensor.createTensor(environment, pixels, shape, OnnxJavaType.UINT8).use { image ->
            session.run(mapOf("image" to image)).use { found ->
                @Suppress("UNCHECKED_CAST")
                fun row(name: String) = (found.get(name).get().value as Array<FloatArray>)[0]
                return Pair(row("probabilities"), row("logits"))
            }
        }
    }

    fun classify(bitmap: Bitmap) = decided(run(resized(colored(bitmap), preprocess)).first, classes, rule)

    /** Runs the golden vectors, each step on the golden result of the step before: the first step of each image that disagrees. */
    fun check(): List<String> {
        val golden = JSONObject(String(bytes("golden/golden.json")))
        val images = golden.getJSONArray("images")
        return List(images.length()) { images.getJSONObject(it) }.mapNotNull { entry ->
            firstWrongStep(entry, golden)?.let { "${entry.getString("image")}: $it" }
        }
    }

    private fun firstWrongStep(entry: JSONObject, golden: JSONObject): String? {
        val allowed = golden.getJSONObject("stages")
        val stages = entry.getJSONObject("stages")
        fun array(step: String) = if (stages.has(step)) NpyArray.read(bytes("golden/${stages.getString(step)}")) else null
        fun wrong(step: String, found: DoubleArray, expected: NpyArray, most: Double): String? =
            furthest(found, expected.values).let { if (it <= most) null else "$step: off by up to $it, at most $most expected" }
        fun numbers(picture: Picture) = DoubleArray(picture.data.size) { (picture.data[it].toInt() and 255).toDouble() }
        val decoded = array("decoded")
        val small = array("resized")!!
        val levels = allowed.getJSONObject("decoded").getDouble("levels")
        val name = stages.getString("file")
        val unread = said.optInt("bits", 16) < 16 && name.endsWith(".png") // Android keeps the highest 8 of 16 bits
        val own = if (unread) null else decode(bytes("golden/$name"))
        if (own == null && name.matches(Regex(".*\\.jpe?g"))) return "decoded: Android cannot read it"
        val same = own != null && own.data.size == decoded?.values?.size
        if (same) wrong("decoded", numbers(own!!), decoded!!, levels)?.let { return it }
        fun atSize(step: String, picture: Picture, most: Double) = wrong(step, numbers(resized(picture, preprocess)), small, most)
        if (decoded != null) atSize("resized", decoded.picture(), allowed.getJSONObject("resized").getDouble("levels"))?.let { return it }
        if (own != null && !same) // decoded in full: comparable once it is resized
            atSize(if (decoded == null) "resized" else "decoded", own, golden.getDouble("full_decode_levels"))?.let { return it }
        val (probabilities, logits) = run(small.picture())
        val expected = array("logits")!!
        val limit = allowed.getJSONObject("logits")
        val most = limit.getDouble("abs") + limit.getDouble("rel") * expected.values.maxOf { kotlin.math.abs(it) }
        wrong("logits", DoubleArray(logits.size) { logits[it].toDouble() }, expected, most)?.let { return it }
        val shares = FloatArray(classes.size) // the golden ones, of the likeliest classes
        val top = entry.getJSONArray("top")
        for (i in 0 until top.length()) {
            val (label, share) = top.getJSONArray(i).let { Pair(it.getString(0), it.getDouble(1)) }
            val off = kotlin.math.abs(probabilities[classes.indexOf(label)] - share)
            if (off > allowed.getJSONObject("probabilities").getDouble("graph_abs")) return "probabilities: $label is off by $off"
            shares[classes.indexOf(label)] = share.toFloat()
        }
        val (answer, _, decision) = decided(shares, classes, rule)
        val right = entry.getJSONObject("answers").getString("model.onnx")
        if (entry.isNull("decision")) return null // rounding decides
        if (answer != right) return "class: $answer, expected $right"
        return if (decision == entry.getString("decision")) null else "decision: $decision, expected ${entry.getString("decision")}"
    }

    override fun close() = session.close()
}
