#include <gtest/gtest.h>
#include <guard/mask.h>

namespace palisade::guard {
namespace {

const std::string k20 = "a1B2c3D4e5F6g7H8i9J0";
const std::string k36 = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8";

struct Case {
  const char* name;
  std::string text;
  std::string secret;  // must be gone
  std::string kept;    // must be there
};

TEST(Mask, HidesWhatLooksLikeASecret) {
  const std::vector<Case> cases{
      {"GitHub", "x ghp_" + k36 + " y", k36, "x ghp_[masked 40 bytes] y"},
      {"GitHub, fine-grained", "github_pat_11A_" + k36, k36, "github_pat_[masked"},
      {"GitHub, installation", "ghs_" + k36, k36, "ghs_["},
      {"GitLab", "glpat-" + k20, k20, "glpat-[masked 26 bytes]"},
      {"GitLab, routable", "glpat-" + k20 + ".01.abc", ".01.abc", "glpat-["},
      {"AWS", "AKIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE", "AKIA[masked 20 bytes]"},
      {"AWS secret", "aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEX", "wJalr",
       "aws_secret_access_key=[masked"},
      {"OpenAI", "OPENAI_API_KEY=sk-" + k36, k36, "OPENAI_API_KEY=["},
      {"OpenAI, bare", "sk-" + k36, k36, "sk-[masked 39 bytes]"},
      {"OpenAI, project", "sk-proj-" + k20 + "_-" + k20, k20, "sk-proj-["},
      {"Anthropic", "sk-ant-api03-" + k36, k36, "sk-ant-["},
      {"Slack", "xoxb-123456789012-abcdef", "123456789012", "xoxb-["},
      {"Google", "AIzaSyA" + k36, k36, "AIza["},
      {"npm", "npm_" + k36, k36, "npm_["},
      {"PyPI", "pypi-AgEIcHlwaS5vcmc" + k36, k36, "pypi-["},
      {"JWT", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0." + k20, "eyJzdWIi", "eyJ[masked"},
      {"a URL's password", "https://me:hunter2@git.example.com/a", "hunter2",
       "https://[masked 10 bytes]@git.example.com/a"},
      {"a URL's token", "https://" + k20 + "@git.example.com/a", k20, "]@git.example.com/a"},
      {"a URL with two @", "https://me:p@ss@host/", "p@ss", "]@host/"},
      {"a header", "Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz",
       "Authorization: Basic [masked 12 bytes]"},
      {"a header of small letters", "authorization: whatever it is\nnext", "whatever",
       "authorization: [masked 14 bytes]\nnext"},
      {"a bearer", "bearer " + k20, k20, "bearer [masked 20 bytes]"},
      {"GitLab's header", "PRIVATE-TOKEN: abc", "abc", "PRIVATE-TOKEN: ["},
      {"git's extra header", "http.extraHeader=AUTHORIZATION: basic eDp5", "eDp5",
       "AUTHORIZATION: ["},
      {"an option", "--password=hunter2", "hunter2", "--password=[masked 7 bytes]"},
      {"a variable", "DB_PASSWORD=hunter2 make", "hunter2", "DB_PASSWORD=[masked 7 bytes] make"},
      {"a query", "https://h/x?access_token=abc&y=1", "abc", "access_token=[masked 3 bytes]&y=1"},
      {"JSON", R"({"password": "hunter2", "a": 1})", "hunter2",
       R"("password": "[masked 7 bytes]", )"},
      {"YAML", "client_secret: hunter2", "hunter2", "client_secret: [masked 7 bytes]"},
      {"code", "token = 'abc\\'def'", "abc", "token = '[masked 8 bytes]'"},
      {"quoted with spaces", "api_key='a b c'", "a b c", "api_key='[masked 5 bytes]'"},
      {"PEM", "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----\n", "MIIEow",
       "-----END RSA PRIVATE KEY-----"},
      {"PEM that is cut", "-----BEGIN PRIVATE KEY-----\nMIIEow", "MIIEow", "-----[masked 7 bytes]"},
  };
  for (const Case& one : cases) {
    const std::string out = mask(one.text);
    EXPECT_EQ(out.find(one.secret), std::string::npos) << one.name << ": " << out;
    EXPECT_NE(out.find(one.kept), std::string::npos) << one.name << ": " << out;
  }
}

TEST(Mask, KeepsWhatOnlyResemblesOne) {
  const std::vector<std::string> texts{
      "",
      "a094fbd0e7f0f5b5f9d4a1b4dbe0a8f6a1b2c3d4",
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "123e4567-e89b-12d3-a456-426614174000",
      "/usr/lib/python3/dist-packages/tokenize.py",
      "--max-tokens=100",
      "max_tokens: 100",
      "--tokenizer=sentencepiece",
      "PWD=/workspace OLDPWD=/tmp",
      "https://example.com/a@b",
      "https://example.com/?q=a@b",
      "ssh://git@git.example.com/team/app.git",
      "git@git.example.com:team/app.git",
      "sk-learn sk-toggleable-content-and-more",
      "eyJ.txt eyJhbGci",
      "AKIA AKIASHORT",
      "if token==expected",
      "std::token::Kind secret:latest",
      "token = lexer.next()",
      "password=$PASSWORD",
      "password=",
      "password: true",
      "fix the password form; the token is gone",
      "--author=A U Thor <author@example.com>",
      "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
      "npm_config_cache=/tmp/x hf_home",
      "author: someone",
      "ghp_short",
  };
  for (const std::string& text : texts)
    EXPECT_EQ(mask(text), text);
}

TEST(Mask, TakesTheArgumentAfterATellingOption) {
  using Argv = std::vector<std::string>;
  EXPECT_EQ(mask_arguments({"x", "--token", "abc", "def"}),
            (Argv{"x", "--token", "[masked 3 bytes]", "def"}));
  EXPECT_EQ(mask_arguments({"x", "-password", "abc"}),
            (Argv{"x", "-password", "[masked 3 bytes]"}));
  EXPECT_EQ(mask_arguments({"x", "--api-key", "--verbose"}), (Argv{"x", "--api-key", "--verbose"}));
  EXPECT_EQ(mask_arguments({"x", "--token=abc", "def"}),
            (Argv{"x", "--token=[masked 3 bytes]", "def"}));
  EXPECT_EQ(mask_arguments({"curl", "-u", "me:hunter2", "h"}),
            (Argv{"curl", "-u", "me:[masked 7 bytes]", "h"}));
  EXPECT_EQ(mask_arguments({"git", "push", "-u", "origin", "main"}),
            (Argv{"git", "push", "-u", "origin", "main"}));
  EXPECT_EQ(mask_arguments({"git", "commit", "-m", "token"}),
            (Argv{"git", "commit", "-m", "token"}));
}

TEST(Mask, IsLinear) {
  // Each of these would take very long if every position were tried to the end.
  for (const std::string& piece : {std::string("eyJ-"), std::string("token='$"), std::string("://"),
                                   std::string("-----BEGIN "), std::string("a:"),
                                   std::string("sk-sk-ant-"), std::string("bearer ")}) {
    std::string text;
    while (text.size() < 400'000)
      text += piece;
    EXPECT_FALSE(mask(text).empty());
  }
}

}  // namespace
}  // namespace palisade::guard
