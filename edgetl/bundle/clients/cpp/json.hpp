// Reads JSON: as much of it as manifest.json and golden.json need. C++17.
#pragma once

#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

struct Json {
  enum Kind { Null, Bool, Number, Text, List, Object } kind = Null;
  double number = 0;
  std::string text;
  std::vector<Json> items;
  std::map<std::string, Json> fields;

  bool null() const { return kind == Null; }
  bool has(const std::string& key) const { return fields.count(key) > 0 && !fields.at(key).null(); }
  const Json& operator[](const std::string& key) const {
    static const Json nothing;
    auto found = fields.find(key);
    return found == fields.end() ? nothing : found->second;
  }
  std::vector<float> numbers() const {
    std::vector<float> all;
    for (const Json& item : items) all.push_back(static_cast<float>(item.number));
    return all;
  }
  /// Height and width; one number stands for both.
  std::pair<int, int> pair() const {
    if (kind == Number) return {static_cast<int>(number), static_cast<int>(number)};
    return {static_cast<int>(items.at(0).number), static_cast<int>(items.at(1).number)};
  }
};

class JsonReader {
 public:
  explicit JsonReader(const std::string& source) : source_(source) {}

  Json read() {
    Json value;
    switch (next()) {
      case '{':
        value.kind = Json::Object;
        for (at_++; next() != '}'; skip(',')) {
          std::string key = string();
          skip(':');
          value.fields[key] = read();
        }
        at_++;
        return value;
      case '[':
        value.kind = Json::List;
        for (at_++; next() != ']'; skip(',')) value.items.push_back(read());
        at_++;
        return value;
      case '"':
        value.kind = Json::Text;
        value.text = string();
        return value;
      case 't': return word(4, Json::Bool, 1);
      case 'f': return word(5, Json::Bool, 0);
      case 'n': return word(4, Json::Null, 0);
      default: {
        char* end = nullptr;
        value.kind = Json::Number;
        value.number = std::strtod(source_.c_str() + at_, &end);
        if (end == source_.c_str() + at_) throw std::runtime_error("expected JSON, found something else");
        at_ = static_cast<size_t>(end - source_.c_str());
        return value;
      }
    }
  }

 private:
  char next() {
    while (at_ < source_.size() && std::string(" \t\r\n").find(source_[at_]) != std::string::npos) at_++;
    if (at_ >= source_.size()) throw std::runtime_error("expected more JSON, found its end");
    return source_[at_];
  }
  void skip(char mark) {
    if (next() == mark) at_++;
  }
  Json word(size_t length, Json::Kind kind, double number) {
    at_ += length;
    Json value;
    value.kind = kind;
    value.number = number;
    return value;
  }
  std::string string() {
    std::string made;
    next();
    for (at_++; source_.at(at_) != '"'; at_++) {
      if (source_[at_] != '\\') {
        made += source_[at_];
        continue;
      }
      switch (char mark = source_.at(++at_)) {
        case 'n': made += '\n'; break;
        case 't': made += '\t'; break;
        case 'r': made += '\r'; break;
        case 'b': made += '\b'; break;
        case 'f': made += '\f'; break;
        case 'u': utf8(made, hex()); break;
        default: made += mark;
      }
    }
    at_++;
    return made;
  }
  unsigned hex() {
    unsigned code = static_cast<unsigned>(std::stoul(source_.substr(at_ + 1, 4), nullptr, 16));
    at_ += 4;
    if (code < 0xD800 || code > 0xDBFF) return code;
    unsigned low = static_cast<unsigned>(std::stoul(source_.substr(at_ + 3, 4), nullptr, 16));
    at_ += 6;
    return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  static void utf8(std::string& made, unsigned code) {
    if (code < 0x80) {
      made += static_cast<char>(code);
      return;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    made += static_cast<char>((0xF00 >> more & 0xFF) | code >> 6 * more);
    while (more--) made += static_cast<char>(0x80 | (code >> 6 * more & 0x3F));
  }

  const std::string& source_;
  size_t at_ = 0;
};
