#include "launch/supervise/hosts.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "core/base/error.h"

namespace kiln {

namespace {

std::int64_t parse_slots(const std::string& text, const std::string& origin) {
  std::int64_t slots = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), slots);
  if (error != std::errc() || end != text.data() + text.size() || slots < 1) {
    throw usage_error("{}: '{}' should be a number of ranks, as in a:8", origin, text);
  }
  return slots;
}

void add(std::vector<Host>& hosts, const Host& host) {
  const auto known = std::ranges::find(hosts, host.name, &Host::name);
  if (known == hosts.end()) {
    hosts.push_back(host);
  } else {
    known->slots += host.slots;
  }
}

bool is_this_machine(const std::string& name) {
  char own[256] = {};
  gethostname(own, sizeof own - 1);
  return name == own || name == "localhost" || name == "127.0.0.1";
}

std::vector<std::string> probe_words(const std::string& host) {
  const char* agent = std::getenv("OMPI_MCA_plm_rsh_agent");
  std::istringstream text(agent ? agent : "ssh");
  std::vector<std::string> words;
  for (std::string word; text >> word && word != ":";) words.push_back(word);
  if (std::filesystem::path(words.at(0)).filename() == "ssh") {
    words.insert(words.end(), {"-o", "BatchMode=yes", "-o", "ConnectTimeout=5"});
  }
  words.insert(words.end(), {host, "true"});
  return words;
}

pid_t start_probe(const std::string& host) {
  const std::vector<std::string> words = probe_words(host);
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  const pid_t child = fork();
  if (child != 0) return child;
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = open("/dev/null", O_RDWR);
  for (const int descriptor : {0, 1, 2}) dup2(null, descriptor);
  execvp(pointers[0], pointers.data());
  _exit(127);
}

}  // namespace

std::vector<Host> parse_hosts(const std::string& text) {
  std::vector<Host> hosts;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    const std::size_t colon = part.rfind(':');
    const std::string name = part.substr(0, colon);
    if (name.empty()) throw usage_error("--hosts {}: a name is missing", text);
    add(hosts, {name, colon == std::string::npos ? 1 : parse_slots(part.substr(colon + 1), part)});
  }
  if (hosts.empty()) throw usage_error("--hosts: no host is named");
  return hosts;
}

std::vector<Host> read_hostfile(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<Host> hosts;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    Host host;
    if (!(words >> host.name)) continue;
    for (std::string word; words >> word;) {
      if (word.starts_with("slots=")) host.slots = parse_slots(word.substr(6), path.string());
    }
    add(hosts, host);
  }
  if (hosts.empty()) throw usage_error("{} names no host", path.string());
  return hosts;
}

std::string to_text(const std::vector<Host>& hosts) {
  std::string text;
  for (const Host& host : hosts) {
    text += fmt::format("{}{}:{}", text.empty() ? "" : ",", host.name, host.slots);
  }
  return text;
}

std::int64_t num_slots(const std::vector<Host>& hosts) {
  std::int64_t slots = 0;
  for (const Host& host : hosts) slots += host.slots;
  return slots;
}

std::vector<Host> answering(const std::vector<Host>& hosts, std::chrono::seconds limit) {
  std::vector<pid_t> probes;
  for (const Host& host : hosts) {
    probes.push_back(is_this_machine(host.name) ? 0 : start_probe(host.name));
  }
  const auto deadline = std::chrono::steady_clock::now() + limit;
  std::vector<Host> found;
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    if (probes[i] == 0) {
      found.push_back(hosts[i]);
      continue;
    }
    int status = -1;
    while (waitpid(probes[i], &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > deadline) {
        killpg(probes[i], SIGKILL);
        waitpid(probes[i], &status, 0);
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    if (status == 0) found.push_back(hosts[i]);
  }
  return found;
}

}  // namespace kiln
