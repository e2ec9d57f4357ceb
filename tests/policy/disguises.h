// What makes a pod an Aider pod, disguised, and what only looks like it.
#pragma once

namespace palisade::policy::testing {

inline constexpr const char* kAiderImages[] = {
    "aider",
    "aider:latest",
    "paulgauthier/aider",
    "paulgauthier/aider-full:v0.86",
    "registry.example.com:5000/palisade/aider@sha256:00",
    "example.com/aider/runner",
    "EXAMPLE.com/Tools/AIDER",
    "localhost/palisade/aider:dev",
    "team/my-aider-image",
    "team/my_aider",
    "aider/chat",
    "mirror.example.com:443/docker.io/paulgauthier/aider:tag@sha256:0",
    "[fd00::1]:5000/aider",
    "team/aiderbot",
    "team/aider2",
    "team/raider-aider",
    "raider/aider",
    "example.com/cache/ghcr.io/aider-ai/runner:v1",
    "tools/PaulGauthier.Aider"};
inline constexpr const char* kOtherImages[] = {
    "nginx", "nginx:aider", "nginx:1.0-aider", "registry.example.com/nginx@sha256:aider",
    "aider.example.com/nginx", "aider.example.com:5000/nginx", "example.com:5000/nginx", "", "aide",
    "ai/der", "a:ider",
    // Other words that hold it.
    "raider", "games/tomb-raider:2", "claider", "nosaider/web", "braider", "hr/first-aiders",
    "registry.example.com/raiders/api@sha256:0"};

// As the JSON of `command` or `args`.
inline constexpr const char* kAiderCommands[] = {
    R"(["aider"])", R"(["/usr/local/bin/aider"])", R"(["AIDER"])", R"(["Aider.exe"])",
    R"(["aider-chat"])", R"(["/opt/x/aider-install", "-y"])", R"(["./aider"])",
    R"(["python3", "-m", "aider"])", R"(["python3", "-m", "aider.main"])",
    R"(["python3", "-maider"])", R"(["python3", "-Imaider"])", R"(["python3", "-Im", "aider"])",
    R"(["sh", "-c", "exec aider --yes"])", R"(["sh", "-c", "cd /x && python -m aider"])",
    R"(["sh", "-c", "cd /x;aider"])", R"(["bash", "-lc", "\"aider\" 'x'"])",
    R"j(["sh", "-c", "$(which aider)"])j", R"(["env", "A=b", "/venv/bin/aider"])",
    R"(["pip", "install", "aider-chat"])", R"(["python", "/x/site-packages/aider/__main__.py"])",
    R"(["python3", "/x/aider/main.py"])", R"(["python3", "-c", "from aider.main import main"])",
    R"(["C:\\tools\\aider.exe"])", R"(["--program=aider"])", R"(["x", "\naider\n"])",
    // Started by something else.
    R"(["env", "-i", "PATH=/usr/bin", "aider", "--yes"])",
    R"(["sh", "-c", "exec env A=b nice -n 5 aider"])",
    R"(["bash", "-lc", "sh -c 'bash -c \"aider --yes\"'"])",
    R"(["timeout", "10", "/opt/venv/bin/aider"])", R"(["xargs", "-I{}", "aider", "{}"])",
    R"(["busybox", "sh", "-c", "(aider) &"])", R"(["tini", "--", "aider"])",
    R"(["pipx", "run", "aider-chat"])", R"(["uvx", "aider-chat"])",
    R"(["uvx", "--from", "aider-chat[help]==0.86.2", "x"])",
    R"(["uv", "tool", "run", "--python", "3.12", "aider"])",
    R"j(["sh", "-c", "pip install aider-chat && exec $(command -v aider)"])j",
    R"(["sh", "-c", "pip install aider_chat; python3 -c 'run()'"])",
    R"(["pip", "install", "git+https://github.com/Aider-AI/aider@main"])",
    R"(["pip", "install", "https://github.com/Aider-AI/aider/archive/main.zip"])",
    R"(["python", "-c", "import aider"])",
    R"j(["python", "-c", "__import__('aider.main').main.main()"])j",
    R"j(["python", "-c", "import runpy; runpy.run_module('aider')"])j",
    R"(["python3", "-X", "dev", "-um", "aider"])", R"(["python3", "-I", "-maider.main"])",
    // Copied, linked, moved: the word is still there.
    R"j(["sh", "-c", "cp $(which aider) /tmp/x && /tmp/x --yes"])j",
    R"(["sh", "-c", "ln -s /usr/local/bin/aider /tmp/y; /tmp/y"])",
    R"(["sh", "-c", "cat /usr/local/bin/aider > /tmp/z; sh /tmp/z"])",
    // Quoted in pieces.
    R"(["sh", "-c", "ai''der --yes"])", R"(["sh", "-c", "\"ai\"\"der\" --yes"])",
    R"(["sh", "-c", "a\\ider --yes"])", R"(["sh", "-c", "/usr/bin/'A'i\"d\"er"])",
    R"(["sh", "-c", "python3 -m 'ai'der"])"};
inline constexpr const char* kOtherCommands[] = {R"(["nginx", "-g", "daemon off;"])",
                                                 R"(["--name=raider"])",
                                                 R"(["raider"])",
                                                 R"(["/opt/raider/bin"])",
                                                 R"(["tomb-raider"])",
                                                 R"(["aiders"])",
                                                 R"(["aider2"])",
                                                 R"(["python3", "-m", "raider"])",
                                                 R"(["python3", "-mraider"])",
                                                 R"(["-Maid", "er"])",
                                                 R"(["--maider"])",
                                                 R"(["-m", "aid", "er"])",
                                                 R"(["braider-m"])",
                                                 R"(["my-aider"])",
                                                 R"([1, null, {}])",
                                                 R"("aider")",
                                                 R"({"aider": 1})",
                                                 R"(["/aider.d/../nginx"])",
                                                 R"(["x", ""])"};

}  // namespace palisade::policy::testing
