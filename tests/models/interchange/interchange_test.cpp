#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "core/checkpoint/safetensors.h"
#include "core/recipe/recipe_reader.h"
#include "core/torch.h"
#include "models/interchange/huggingface.h"
#include "models/layers/parameters.h"
#include "models/mae/mae.h"
#include "models/mae/mae_options.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

class Interchange : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::path(testing::TempDir()) /
           (std::string("interchange_") +
            testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  static std::unique_ptr<MaeObjective> make_mae() {
    MaeOptions options;
    options.preset = "tiny";
    options.norm_pix = false;
    options.resolve();
    DatasetInfo data;
    data.height = data.width = 28;
    data.channels = 3;
    auto objective = std::make_unique<MaeObjective>(
        options.shape(data), PixelNormalisation({0.1, 0.2, 0.3}, {0.4, 0.5, 0.6}),
        at::TensorOptions());
    objective->initialise(3);
    return objective;
  }

  /// Rewrites model.safetensors without tensor `dropped` and with an extra one `added`.
  void damage(const std::string& dropped, const std::string& added) const {
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    {
      const SafetensorsFile file(dir_ / "model.safetensors");
      for (const auto& [name, entry] : file.entries()) {
        if (name != dropped) tensors.emplace_back(name, file.read(name));
      }
    }
    tensors.emplace_back(added, at::zeros({2}));
    write_safetensors(dir_ / "model.safetensors", tensors);
  }

  std::string import_error() const {
    try {
      import_huggingface(dir_);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  fs::path dir_;
};

TEST_F(Interchange, RoundTripOfMaeIsExact) {
  const auto objective = make_mae();
  export_huggingface(*objective, dir_);
  const ImportedModel imported = import_huggingface(dir_);
  const NamedTensors before = named_tensors(objective->module());
  const NamedTensors after = named_tensors(imported.objective->module());
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [name, tensor] : before) EXPECT_TRUE(tensor.equal(after.at(name))) << name;
  EXPECT_EQ(imported.data.mean, (std::vector<double>{0.1, 0.2, 0.3}));
  EXPECT_EQ(imported.data.std, (std::vector<double>{0.4, 0.5, 0.6}));
}

TEST_F(Interchange, ImportDescribesTheModelAsARecipe) {
  export_huggingface(*make_mae(), dir_);
  const ImportedModel imported = import_huggingface(dir_);
  RecipeReader reader = RecipeReader::from_text(imported.recipe, "import", {});
  MaeOptions options;
  reader.read("model", options);
  reader.finish();
  EXPECT_EQ(options.name, "mae");
  EXPECT_EQ(options.decoder_dim, 48);
  EXPECT_FALSE(options.norm_pix);
}

TEST_F(Interchange, ImportNamesMissingAndUnexpectedTensors) {
  export_huggingface(*make_mae(), dir_);
  damage("vit.encoder.layer.1.attention.attention.key.bias", "vit.pooler.bias");
  const std::string message = import_error();
  EXPECT_NE(message.find("missing: vit.encoder.layer.1.attention.attention.key.bias"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("unexpected: vit.pooler.bias"), std::string::npos) << message;
}

TEST_F(Interchange, ImportNamesUnknownModelType) {
  fs::create_directories(dir_);
  std::ofstream(dir_ / "config.json") << R"({"model_type": "gpt2"})";
  EXPECT_NE(import_error().find("'gpt2'"), std::string::npos);
}

TEST_F(Interchange, ImportNamesEveryBadKey) {
  export_huggingface(*make_mae(), dir_);
  std::ofstream(dir_ / "config.json")
      << R"({"model_type": "vit_mae", "hidden_act": "relu", "image_size": "large"})";
  const std::string message = import_error();
  for (const char* key : {"hidden_act = relu", "image_size", "decoder_hidden_size is missing"}) {
    EXPECT_NE(message.find(key), std::string::npos) << message;
  }
}

TEST_F(Interchange, ExportLeavesAnExistingModelAlone) {
  export_huggingface(*make_mae(), dir_);
  EXPECT_THROW(export_huggingface(*make_mae(), dir_), Error);
}

}  // namespace
}  // namespace kiln
