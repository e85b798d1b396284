// The steps from pixels to a decision, as manifest.json says them. Kotlin's standard library only: nothing of Android.
package classify

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round
import kotlin.math.sin

/** Rows from the top, channels last (RGB, or one of gray); a pixel is a byte without sign. */
class Picture(val height: Int, val width: Int, val channels: Int, val data: ByteArray)

/** What manifest.json says of a picture's way to the network. Sizes are height and width. */
class Preprocess(
    val size: Pair<Int, Int>,
    val resize: Pair<Int, Int>,
    val filter: String,
    val fit: String,
    val fill: Int,
    val gray: Boolean
)

/** What manifest.json says of decisions; a null threshold lets every answer through. */
class DecisionRule(val threshold: Double?, val unknown: String)

private const val ONE = 1L shl 22 // Pillow's weights are whole numbers of this fraction

private class Window(val from: Int, val weights: LongArray)

private fun sinc(x: Double) = if (x == 0.0) 1.0 else sin(PI * x) / (PI * x)

private fun reach(filter: String) = when (filter) { "bilinear" -> 1.0; "bicubic" -> 2.0; else -> 3.0 }

private fun weight(filter: String, at: Double): Double {
    val x = abs(at)
    return when (filter) {
        "bilinear" -> max(0.0, 1 - x)
        "bicubic" -> if (x < 1) (1.5 * x - 2.5) * x * x + 1 else if (x < 2) ((-0.5 * x + 2.5) * x - 4) * x + 2 else 0.0
        else -> if (x < 3) sinc(x) * sinc(x / 3) else 0.0
    }
}

/** For each new pixel along one side, the window it is the mean of. It grows as the side shrinks: antialias. */
private fun windows(before: Int, after: Int, filter: String): List<Window> {
    val scale = before.toDouble() / after
    val wide = max(1.0, scale)
    val far = reach(filter) * wide
    return List(after) { at ->
        val center = (at + 0.5) * scale
        val from = max(0, (center - far + 0.5).toInt())
        val to = min(before, (center + far + 0.5).toInt())
        val raw = DoubleArray(to - from) { weight(filter, (it + from - center + 0.5) / wide) }
        val sum = raw.sum()
        Window(from, LongArray(raw.size) { (raw[it] / sum * ONE + if (raw[it] < 0) -0.5 else 0.5).toLong() })
    }
}

private fun pass(picture: Picture, height: Int, width: Int, plan: List<Window>, vertical: Boolean): Picture {
    val channels = picture.channels
    val made = ByteArray(height * width * channels)
    val step = if (vertical) picture.width * channels else channels
    for (y in 0 until height) for (x in 0 until width) {
        val window = plan[if (vertical) y else x]
        val start = if (vertical) window.from * step + x * channels else (y * picture.width + window.from) * channels
        for (c in 0 until channels) {
            var sum = ONE / 2
            for (i in window.weights.indices) sum += window.weights[i] * (picture.data[start + c + i * step].toInt() and 255)
            made[(y * width + x) * channels + c] = (sum shr 22).coerceIn(0, 255).toByte()
        }
    }
    return Picture(height, width, channels, made)
}

/** Bit for bit as Pillow resizes: along the rows, then along the columns. */
fun resample(picture: Picture, height: Int, width: Int, filter: String): Picture {
    val across = if (width == picture.width) picture else pass(picture, picture.height, width, windows(picture.width, width, filter), false)
    return if (height == across.height) across else pass(across, height, width, windows(across.height, height, filter), true)
}

/** The center of a picture; where it is smaller, it lies in the middle of pixels of the gray level `fill`. */
private fun placed(picture: Picture, height: Int, width: Int, fill: Int): Picture {
    val channels = picture.channels
    val made = ByteArray(height * width * channels) { fill.toByte() }
    val top = round((picture.height - height) / 2.0).toInt()
    val left = round((picture.width - width) / 2.0).toInt()
    for (y in max(0, -top) until min(height, picture.height - top)) for (x in max(0, -left) until min(width, picture.width - left))
        for (c in 0 until channels)
            made[(y * width + x) * channels + c] = picture.data[((y + top) * picture.width + x + left) * channels + c]
    return Picture(height, width, channels, made)
}

/** A decoded picture at the network's size: what model.image.onnx takes. */
fun resized(picture: Picture, p: Preprocess): Picture {
    val (rows, columns) = p.resize
    var size = p.resize
    if (p.fit != "squash") {
        val crop = p.fit == "crop"
        val byWidth = (picture.height.toLong() * columns >= picture.width.toLong() * rows) == crop
        val other = if (byWidth) columns.toDouble() * picture.height / picture.width else rows.toDouble() * picture.width / picture.height
        val rounded = if (crop) floor(other).toInt() else max(1, round(other).toInt())
        size = if (byWidth) Pair(rounded, columns) else Pair(rows, rounded)
    }
    val fitted = resample(picture, size.first, size.second, p.filter)
    return placed(if (p.fit == "pad") placed(fitted, rows, columns, p.fill) else fitted, p.size.first, p.size.second, 0)
}

/** Pixels as 0xAARRGGBB, rows from the top -> the network's colors; what is transparent lies on white. */
fun colored(pixels: IntArray, height: Int, width: Int, gray: Boolean): Picture {
    val channels = if (gray) 1 else 3
    val data = ByteArray(height * width * channels)
    for (i in pixels.indices) {
        val alpha = pixels[i] ushr 24
        val rgb = IntArray(3) { c ->
            val sum = (pixels[i] shr (16 - 8 * c) and 255) * alpha * 128 + 255 * (255 - alpha) * 128 + 16384
            ((sum shr 8) + sum shr 8) shr 7
        }
        if (gray) data[i] = (rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 32768 shr 16).toByte()
        else for (c in 0 until 3) data[3 * i + c] = rgb[c].toByte()
    }
    return Picture(height, width, channels, data)
}

/** A picture as its EXIF orientation (1 to 8) says it is to be looked at. */
fun upright(picture: Picture, orientation: Int): Picture {
    val turned = orientation in 5..8 // width and height change places
    val height = if (turned) picture.width else picture.height
    val width = if (turned) picture.height else picture.width
    val data = ByteArray(picture.data.size)
    for (y in 0 until height) for (x in 0 until width) {
        val across = if (turned) y else x
        val down = if (turned) x else y
        val column = if (orientation in listOf(2, 3, 7, 8)) picture.width - 1 - across else across
        val row = if (orientation in listOf(3, 4, 6, 7)) picture.height - 1 - down else down
        val from = (row * picture.width + column) * picture.channels
        picture.data.copyInto(data, (y * width + x) * picture.channels, from, from + picture.channels)
    }
    return Picture(height, width, picture.channels, data)
}

/** The likeliest class with its confidence, and the decision: that class, or "unknown". */
fun decided(probabilities: FloatArray, classes: List<String>, rule: DecisionRule?): Triple<String, Float, String> {
    val best = probabilities.indices.reduce { a, b -> if (probabilities[b] > probabilities[a]) b else a }
    val sure = rule?.threshold == null || probabilities[best] >= rule.threshold
    return Triple(classes[best], probabilities[best], if (sure) classes[best] else rule!!.unknown)
}

/** By how much two rows of numbers differ at most; infinity where they have not as many. */
fun furthest(found: DoubleArray, expected: DoubleArray): Double =
    if (found.size != expected.size) Double.POSITIVE_INFINITY else found.indices.fold(0.0) { most, i -> max(most, abs(found[i] - expected[i])) }
