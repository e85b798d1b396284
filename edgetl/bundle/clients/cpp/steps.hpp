// The steps from pixels to a decision, as manifest.json says them. Standard library only, C++17.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "json.hpp"

/// Rows from the top, channels last (RGB, or one of gray).
struct Picture {
  int height = 0, width = 0, channels = 0;
  std::vector<uint8_t> data;
};

namespace steps {

constexpr double kPi = 3.14159265358979323846;
constexpr int64_t kOne = int64_t{1} << 22;  // Pillow's weights are whole numbers of this fraction

inline double sinc(double x) { return x == 0 ? 1 : std::sin(kPi * x) / (kPi * x); }

/// How far a filter reaches, and its weight at x.
inline double reach(const std::string& filter) { return filter == "bilinear" ? 1 : filter == "bicubic" ? 2 : 3; }
inline double weight(const std::string& filter, double x) {
  x = std::abs(x);
  if (filter == "bilinear") return std::max(0.0, 1 - x);
  if (filter == "bicubic") return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
  return x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

struct Window {
  int from = 0;
  std::vector<int64_t> weights;
};

/// For each new pixel along one side, the window it is the mean of. It grows as the side shrinks: antialias.
inline std::vector<Window> windows(int before, int after, const std::string& filter) {
  std::vector<Window> all(static_cast<size_t>(after));
  const double scale = static_cast<double>(before) / after, wide = std::max(1.0, scale), far = reach(filter) * wide;
  for (int at = 0; at < after; at++) {
    const double center = (at + 0.5) * scale;
    Window& window = all[static_cast<size_t>(at)];
    window.from = std::max(0, static_cast<int>(center - far + 0.5));
    const int to = std::min(before, static_cast<int>(center + far + 0.5));
    std::vector<double> raw;
    for (int i = window.from; i < to; i++) raw.push_back(weight(filter, (i - center + 0.5) / wide));
    const double sum = std::accumulate(raw.begin(), raw.end(), 0.0);
    for (double w : raw) window.weights.push_back(static_cast<int64_t>(w / sum * static_cast<double>(kOne) + (w < 0 ? -0.5 : 0.5)));
  }
  return all;
}

inline Picture pass(const Picture& p, int height, int width, const std::vector<Window>& plan, bool vertical) {
  Picture made{height, width, p.channels, std::vector<uint8_t>(static_cast<size_t>(height) * width * p.channels)};
  const int step = vertical ? p.width * p.channels : p.channels;
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++) {
      const Window& window = plan[static_cast<size_t>(vertical ? y : x)];
      const int start = vertical ? window.from * step + x * p.channels : (y * p.width + window.from) * p.channels;
      for (int c = 0; c < p.channels; c++) {
        int64_t sum = kOne / 2;
        for (size_t i = 0; i < window.weights.size(); i++) sum += window.weights[i] * p.data[static_cast<size_t>(start + c) + i * step];
        made.data[static_cast<size_t>((y * width + x) * p.channels + c)] = static_cast<uint8_t>(std::clamp<int64_t>(sum >> 22, 0, 255));
      }
    }
  return made;
}

/// Bit for bit as Pillow resizes: along the rows, then along the columns.
inline Picture resample(const Picture& p, int height, int width, const std::string& filter) {
  Picture across = width == p.width ? p : pass(p, p.height, width, windows(p.width, width, filter), false);
  return height == across.height ? across : pass(across, height, width, windows(p.height, height, filter), true);
}

/// The center of a picture; where it is smaller, it lies in the middle of pixels of the gray level `fill`.
inline Picture placed(const Picture& p, int height, int width, int fill) {
  Picture made{height, width, p.channels, std::vector<uint8_t>(static_cast<size_t>(height) * width * p.channels, static_cast<uint8_t>(fill))};
  const int top = static_cast<int>(std::nearbyint((p.height - height) / 2.0)), left = static_cast<int>(std::nearbyint((p.width - width) / 2.0));
  for (int y = std::max(0, -top); y < std::min(height, p.height - top); y++)
    for (int x = std::max(0, -left); x < std::min(width, p.width - left); x++)
      for (int c = 0; c < p.channels; c++)
        made.data[static_cast<size_t>((y * width + x) * p.channels + c)] =
            p.data[static_cast<size_t>(((y + top) * p.width + x + left) * p.channels + c)];
  return made;
}

/// A decoded picture at the network's size; `p` is manifest.preprocess.
inline Picture resized(const Picture& picture, const Json& p) {
  const auto [rows, columns] = p["resize"].pair();
  const auto [height, width] = p["size"].pair();
  const std::string fit = p.has("fit") ? p["fit"].text : "crop";
  int high = rows, wide = columns;
  if (fit != "squash") {
    const bool crop = fit == "crop", by_width = (int64_t{picture.height} * columns >= int64_t{picture.width} * rows) == crop;
    const double other = by_width ? static_cast<double>(columns) * picture.height / picture.width : static_cast<double>(rows) * picture.width / picture.height;
    const int rounded = crop ? static_cast<int>(other) : std::max(1, static_cast<int>(std::nearbyint(other)));
    (by_width ? high : wide) = rounded;
  }
  Picture fitted = resample(picture, high, wide, p["filter"].text);
  if (fit == "pad") fitted = placed(fitted, rows, columns, static_cast<int>(p["fill"].number));
  return placed(fitted, height, width, 0);
}

/// A picture at the network's size -> float32, channels first: (pixel / 255 - mean) / std.
inline std::vector<float> to_input(const Picture& picture, const Json& p) {
  const std::vector<float> mean = p["mean"].numbers(), std = p["std"].numbers();
  const size_t area = static_cast<size_t>(picture.height) * picture.width, channels = static_cast<size_t>(picture.channels);
  std::vector<float> input(channels * area);
  for (size_t c = 0; c < channels; c++)
    for (size_t i = 0; i < area; i++) {
      const float share = static_cast<float>(picture.data[i * channels + c]) / 255.0f;
      input[c * area + i] = (share - mean[c]) / std[c];
    }
  return input;
}

/// The outputs for one image -> a number in [0, 1] for each class; `kind` is manifest.outputs[0].kind.
inline std::vector<double> confidences(const std::vector<float>& x, const std::string& kind, double temperature) {
  std::vector<double> scores(x.begin(), x.end());
  if (kind == "probabilities" || kind == "sigmoids" || kind == "sigmoid") {
    for (double& v : scores) v = std::clamp(v, 0.0, 1.0);
    if (kind == "sigmoid") scores = {1 - scores[0], scores[0]};
    return scores;
  }
  if (kind == "logit") scores = {0, scores[0]};
  const double most = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& v : scores) sum += v = std::exp((v - most) / temperature);
  for (double& v : scores) v /= sum;
  return scores;
}

/// The confidences that a manifest says its outputs mean.
inline std::vector<double> confidences(const std::vector<float>& outputs, const Json& manifest) {
  const Json& rule = manifest["decision"];
  return confidences(outputs, manifest["outputs"].items.at(0)["kind"].text, rule.null() ? 1 : rule["temperature"].number);
}

/// The likeliest class, or "unknown" where its confidence is below the threshold.
inline std::string decided(const std::vector<double>& found, const Json& manifest) {
  const size_t best = static_cast<size_t>(std::max_element(found.begin(), found.end()) - found.begin());
  const Json& rule = manifest["decision"];
  const bool sure = !rule.has("threshold") || found[best] >= rule["threshold"].number;
  return sure ? manifest["classes"].items.at(best).text : rule["unknown"].text;
}

}  // namespace steps
