#pragma once

#include <signal.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace kiln {

/// A program that was started, with its outputs in pipes, in a process group of its own (Ctrl-C at
/// the terminal is for its parent alone). It gets SIGTERM when this process dies.
class Child {
 public:
  /// `mask`: signals it blocks. Throws Error(kCommunication) when it cannot be started.
  Child(const std::vector<std::string>& words, const sigset_t& mask);
  /// Kills the processes that are left.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// Read ends; -1 once closed.
  int out() const { return out_; }
  int err() const { return err_; }
  /// What can be read without waiting; empty and closed at the end of the stream.
  std::string read_out() { return read_from(out_); }
  std::string read_err() { return read_from(err_); }

  void signal(int number) const;
  /// Its wait status once it has ended.
  std::optional<int> status();
  /// SIGKILL to it and to everything below it; returns when all are gone, or after a few seconds.
  /// Orphans count as well where this process has made itself their reaper
  /// (PR_SET_CHILD_SUBREAPER).
  void kill_all();

 private:
  static std::string read_from(int& descriptor);

  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
  std::optional<int> status_;
};

}  // namespace kiln
