// Classifies pictures with the bundle, in C++17.
//
//   classify BUNDLE check        runs the golden vectors; names the first step that disagrees
//   classify BUNDLE PICTURE...   PICTURE is a .ppm or .pgm (8 bits), or a .npy of uint8 [height, width, channels]
//
// An app hands over the pixels that its own decoder gives (upright, RGB): that is where `steps::resized` begins.

#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>

#include "model.hpp"
#include "steps.hpp"

namespace {

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("expected a file at " + path + ", found none");
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Array {
  std::vector<int64_t> shape;
  std::vector<double> values;
};

/// A .npy file of uint8 or float32.
Array read_npy(const std::string& path) {
  const std::string file = bytes_of(path);
  const bool wide = file.at(6) > 1;
  auto byte = [&](size_t at) { return static_cast<size_t>(static_cast<uint8_t>(file.at(at))); };
  const size_t start = (wide ? 12 : 10) + byte(8) + (byte(9) << 8);
  const std::string head = file.substr(0, start);
  Array array;
  std::stringstream shape(head.substr(head.find("'shape': (") + 10));
  for (int64_t size; shape >> size; shape.ignore(1)) array.shape.push_back(size);
  const bool small = head.find("|u1") != std::string::npos;
  for (size_t at = start; at < file.size(); at += small ? 1 : 4) {
    float value = 0;
    if (!small) std::memcpy(&value, file.data() + at, 4);
    array.values.push_back(small ? static_cast<double>(byte(at)) : value);
  }
  return array;
}

Picture picture_of(const Array& array) {
  const auto size = [&](size_t i) { return static_cast<int>(array.shape.at(i)); };
  return {size(0), size(1), array.shape.size() > 2 ? size(2) : 1, std::vector<uint8_t>(array.values.begin(), array.values.end())};
}

/// A binary graymap or pixmap in the colors of the network.
Picture read_pnm(const std::string& path, bool gray) {
  std::stringstream file(bytes_of(path));
  std::string mark;
  int width = 0, height = 0, most = 0;
  file >> mark >> width >> height >> most;
  if ((mark != "P5" && mark != "P6") || most != 255) throw std::runtime_error("expected a binary .pgm or .ppm of 8 bits at " + path);
  file.ignore(1);
  const int given = mark == "P6" ? 3 : 1, channels = gray ? 1 : 3;
  Picture picture{height, width, channels, {}};
  for (int i = 0; i < height * width; i++) {
    int rgb[3];
    for (int c = 0; c < given; c++) rgb[c] = file.get();
    if (given == 1) rgb[1] = rgb[2] = rgb[0];
    if (gray) rgb[0] = (rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 32768) >> 16;
    for (int c = 0; c < channels; c++) picture.data.push_back(static_cast<uint8_t>(rgb[c]));
  }
  if (!file) throw std::runtime_error("expected " + std::to_string(height * width) + " pixels in " + path + ", found fewer");
  return picture;
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

struct Classifier {
  Json manifest;
  Model model;
  std::vector<int64_t> shape;

  explicit Classifier(const std::string& bundle)
      : manifest(parsed(bundle + "/manifest.json")),
        model(bundle + "/model.onnx", manifest["inputs"].items.at(0)["name"].text, manifest["outputs"].items.at(0)["name"].text) {
    const auto [height, width] = preprocess()["size"].pair();
    shape = {1, gray() ? 1 : 3, height, width};
  }

  static Json parsed(const std::string& path) {
    const std::string text = bytes_of(path);
    return JsonReader(text).read();
  }
  const Json& preprocess() const { return manifest["preprocess"]; }
  bool gray() const { return preprocess()["color"].text == "gray"; }
  Picture decode(const std::string& path) const { return ends_with(path, ".npy") ? picture_of(read_npy(path)) : read_pnm(path, gray()); }
  std::vector<double> classify(const Picture& decoded) {
    return steps::confidences(model.run(steps::to_input(steps::resized(decoded, preprocess()), preprocess()), shape), manifest);
  }
};

template <class Numbers>
std::string differs(const std::string& step, const Numbers& found, const Array& expected, double most, double share = 0) {
  std::ostringstream said;
  double worst = 0;
  bool off = found.size() != expected.values.size();
  if (off) said << step << ": " << found.size() << " numbers, expected " << expected.values.size();
  for (size_t i = 0; !said.tellp() && i < found.size(); i++) {
    const double difference = std::abs(static_cast<double>(found[i]) - expected.values[i]);
    worst = std::max(worst, difference);
    off = off || !(difference <= most + share * std::abs(expected.values[i]));
  }
  if (off && !said.tellp()) said << step << ": off by up to " << worst << ", at most " << most << " expected";
  return off ? said.str() : "";
}

/// Runs one golden image, each step on the golden result of the step before; the first that disagrees, or nothing.
std::string first_wrong_step(Classifier& classifier, const std::string& folder, const Json& entry, const Json& golden) {
  const Json &stages = entry["stages"], &allowed = golden["stages"], &p = classifier.preprocess();
  auto array = [&](const std::string& step) { return read_npy(folder + stages[step].text); };
  const std::string file = folder + stages["file"].text;
  const bool readable = ends_with(file, ".pgm") || ends_with(file, ".ppm");
  if (readable && stages.has("decoded")) {
    std::string wrong = differs("decoded", classifier.decode(file).data, array("decoded"), allowed["decoded"]["levels"].number);
    if (!wrong.empty()) return wrong;
  }
  const Array resized = array("resized"), input = array("input"), logits = array("logits");
  std::string wrong;
  if (readable || stages.has("decoded")) {
    const Picture decoded = stages.has("decoded") ? picture_of(array("decoded")) : classifier.decode(file);
    wrong = differs("resized", steps::resized(decoded, p).data, resized, allowed["resized"]["levels"].number);
  }
  if (wrong.empty()) wrong = differs("input", steps::to_input(picture_of(resized), p), input, allowed["input"]["abs"].number);
  const std::vector<float> tensor(input.values.begin(), input.values.end());
  const Json& l = allowed["logits"];
  if (wrong.empty()) wrong = differs("logits", classifier.model.run(tensor, classifier.shape), logits, l["abs"].number, l["rel"].number);
  if (!wrong.empty()) return wrong;
  std::vector<double> found = steps::confidences(std::vector<float>(logits.values.begin(), logits.values.end()), classifier.manifest);
  const std::string decision = steps::decided(found, classifier.manifest);
  const size_t best = static_cast<size_t>(std::max_element(found.begin(), found.end()) - found.begin());
  std::sort(found.rbegin(), found.rend());
  Array top;
  for (const Json& pair : entry["top"].items) top.values.push_back(pair.items.at(1).number);
  found.resize(top.values.size());
  wrong = differs("probabilities", found, top, allowed["probabilities"]["abs"].number);
  if (!wrong.empty()) return wrong;
  const std::string answer = classifier.manifest["classes"].items.at(best).text, expected = entry["answers"]["model.onnx"].text;
  if (answer != expected) return "class: " + answer + ", expected " + expected;
  const Json& right = entry["decision"];  // null: rounding decides
  return right.null() || decision == right.text ? "" : "decision: " + decision + ", expected " + right.text;
}

int check(Classifier& classifier, const std::string& folder) {
  const Json golden = Classifier::parsed(folder + "golden.json");
  int wrong = 0;
  for (const Json& entry : golden["images"].items) {
    const std::string step = first_wrong_step(classifier, folder, entry, golden);
    if (!step.empty()) std::cerr << entry["image"].text << ": " << step << "\n";
    wrong += !step.empty();
  }
  const size_t n = classifier.manifest["classes"].items.size();
  const std::string said = steps::decided(std::vector<double>(n, 1.0 / static_cast<double>(n)), classifier.manifest);
  const Json& right = golden["decision_of_equals"];
  if (!right.null() && said != right.text && ++wrong) std::cerr << "golden.json: decision: of equal confidences " << said << ", expected " << right.text << "\n";
  if (wrong == 0) std::cout << golden["images"].items.size() << " golden images agree\n";
  return wrong ? 1 : 0;
}

}  // namespace

int main(int count, char** given) try {
  if (count < 3) throw std::runtime_error("expected: classify BUNDLE check, or classify BUNDLE PICTURE...");
  Classifier classifier(given[1]);
  if (std::string(given[2]) == "check") return check(classifier, std::string(given[1]) + "/golden/");
  for (int i = 2; i < count; i++) {
    const std::vector<double> found = classifier.classify(classifier.decode(given[i]));
    const double most = *std::max_element(found.begin(), found.end());
    std::cout << given[i] << "\t" << steps::decided(found, classifier.manifest) << "\t" << most << "\n";
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 2;
}
