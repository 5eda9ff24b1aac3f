#include <gtest/gtest.h>

#include "core/base/error.h"
#include "core/recipe/recipe_reader.h"

namespace kiln {
namespace {

struct CropOptions {
  std::int64_t count = 1;
  double blur = 0.5;
  std::string note;
  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("count", count, "How many.", kIdentity);
    visit("blur", blur, "How likely.", kIdentity);
    visit("note", note, "Says nothing.", kExecution);
  }
};

struct PictureOptions {
  std::string path;
  std::vector<CropOptions> crops;
  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("path", path, "Where.", kExecution);
    visit("crops", crops, "Groups of crops.", kIdentity);
  }
};

constexpr const char* kRecipe =
    "[data]\npath = \"p\"\n[[data.crops]]\ncount = 2\n[[data.crops]]\nblur = 1\n[run]\nname = "
    "\"n\"\n";

struct RunOptions {
  std::string name;
  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "Of the run.", kExecution);
  }
};

RecipeReader reader_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return RecipeReader::from_text(text, "r", overrides);
}

PictureOptions read(const std::string& text, const std::vector<std::string>& overrides = {}) {
  RecipeReader reader = reader_of(text, overrides);
  PictureOptions options;
  reader.read("data", options);
  return options;
}

std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    RecipeReader reader = reader_of(text, overrides);
    PictureOptions options;
    reader.read("data", options);
    reader.finish();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "no error";
}

TEST(RecipeTables, AreReadInTheirOrderWithDefaults) {
  const PictureOptions options = read(kRecipe);
  ASSERT_EQ(options.crops.size(), 2u);
  EXPECT_EQ(options.crops[0].count, 2);
  EXPECT_EQ(options.crops[0].blur, 0.5);
  EXPECT_EQ(options.crops[1].count, 1);
  EXPECT_EQ(options.crops[1].blur, 1.0);
  EXPECT_EQ(read("[data]\ncrops = [{count = 5}]\n").crops[0].count, 5);
  EXPECT_TRUE(read("[data]\n").crops.empty());
}

TEST(RecipeTables, OverridesReachThemByNumber) {
  const PictureOptions options =
      read(kRecipe, {"data.crops.1.count=7", "data.crops.2.count=9", "data.crops.2.note=new"});
  ASSERT_EQ(options.crops.size(), 3u);
  EXPECT_EQ(options.crops[1].count, 7);
  EXPECT_EQ(options.crops[1].blur, 1.0);
  EXPECT_EQ(options.crops[2].count, 9);
  EXPECT_EQ(options.crops[2].note, "new");
  EXPECT_EQ(read("[data]\n", {"data.crops.0.count=4"}).crops[0].count, 4);
  EXPECT_TRUE(read(kRecipe, {"data.crops=[]"}).crops.empty());
}

TEST(RecipeTables, MistakesAreNamed) {
  const auto says = [](const std::string& text, const std::string& message) {
    EXPECT_NE(text.find(message), std::string::npos) << text;
  };
  says(error_of("[data]\n[[data.crops]]\ncuont = 3\n"),
       "data.crops.0.cuont is not a key; did you mean");
  says(error_of("[data]\n[[data.crops]]\ncount = \"3\"\n"),
       "data.crops.0.count = '3' should be an integer");
  says(error_of("[data]\ncrops = 3\n"), "data.crops should be a list of tables");
  says(error_of("[data]\ncrops = [1, 2]\n"), "data.crops should be a list of tables");
  says(error_of("[data]\n[[data.corps]]\ncount = 3\n"), "data.corps is not a key");
  says(error_of("[data]\n", {"data.crops.1.count=3"}), "the next is 0");
  says(error_of("[data]\npath = \"p\"\n", {"data.path.0.count=3"}), "not in a table");
  says(error_of("[data]\n", {"data.crops.0=3"}), "stands in a list");
}

TEST(RecipeTables, AResolvedRecipeReadsBackTheSame) {
  RecipeReader reader = reader_of(kRecipe);
  PictureOptions options;
  RunOptions run, same_run;
  reader.read("data", options);
  reader.read("run", run);
  options.crops[0].count = 11;
  reader.update("data", options);
  const std::string text = reader.resolved_toml();
  RecipeReader again = reader_of(text);
  PictureOptions same;
  again.read("data", same);
  again.read("run", same_run);
  again.finish();
  EXPECT_EQ(same_run.name, "n");
  ASSERT_EQ(same.crops.size(), 2u);
  EXPECT_EQ(same.crops[0].count, 11);
  EXPECT_EQ(same.path, "p");
  EXPECT_EQ(again.identity(), reader.identity());
}

TEST(RecipeTables, TheirKeysAreIdentityAndAnEmptyListIsNone) {
  RecipeReader with = reader_of(kRecipe), without = reader_of("[data]\n");
  PictureOptions options, none;
  with.read("data", options);
  without.read("data", none);
  EXPECT_EQ(with.identity().at("data.crops.0.count"), "2");
  EXPECT_EQ(with.identity().at("data.crops.1.blur"), "1.0");
  EXPECT_EQ(with.identity().count("data.crops.0.note"), 0u);
  EXPECT_TRUE(without.identity().empty());
}

}  // namespace
}  // namespace kiln
