// One float image in, one row of outputs out: under OpenVINO, or under onnxruntime (define USE_ONNXRUNTIME).
#pragma once

#include <string>
#include <vector>

#ifdef USE_ONNXRUNTIME
#include <onnxruntime_cxx_api.h>

class Model {
 public:
  Model(const std::string& path, std::string input, std::string output)
      : input_(std::move(input)), output_(std::move(output)), session_(env_, std::basic_string<ORTCHAR_T>(path.begin(), path.end()).c_str(), Ort::SessionOptions{}) {}

  std::vector<float> run(std::vector<float> x, const std::vector<int64_t>& shape) {
    auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    auto given = Ort::Value::CreateTensor<float>(memory, x.data(), x.size(), shape.data(), shape.size());
    const char *in = input_.c_str(), *out = output_.c_str();
    auto found = session_.Run(Ort::RunOptions{}, &in, &given, 1, &out, 1);
    const float* first = found[0].GetTensorData<float>();
    return {first, first + found[0].GetTensorTypeAndShapeInfo().GetElementCount()};
  }

 private:
  std::string input_, output_;
  Ort::Env env_{ORT_LOGGING_LEVEL_ERROR, "classify"};
  Ort::Session session_;
};
#else
#include <openvino/openvino.hpp>

class Model {
 public:
  Model(const std::string& path, std::string input, std::string output)
      : input_(std::move(input)), output_(std::move(output)) {
    ov::Core core;
    model_ = core.compile_model(path, "CPU", ov::hint::inference_precision(ov::element::f32), ov::inference_num_threads(1));
  }

  std::vector<float> run(std::vector<float> x, const std::vector<int64_t>& shape) {
    auto request = model_.create_infer_request();
    request.set_tensor(input_, ov::Tensor(ov::element::f32, ov::Shape(shape.begin(), shape.end()), x.data()));
    request.infer();
    const ov::Tensor found = request.get_tensor(output_);
    return {found.data<float>(), found.data<float>() + found.get_size()};
  }

 private:
  std::string input_, output_;
  ov::CompiledModel model_;
};
#endif
