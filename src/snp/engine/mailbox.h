// Messages from any thread to one: nobody waits, nothing is lost, no bound. The messages are the
// nodes; whoever takes one owns it.
#pragma once

#include <atomic>

namespace snp::engine {

struct MailNode {
  MailNode* next = nullptr;
};

class Mailbox {
 public:
  // Any thread. True: it was empty, so the receiver may have to be woken.
  bool post(MailNode& node) noexcept {
    MailNode* top = top_.load(std::memory_order_relaxed);
    do {
      node.next = top;
    } while (!top_.compare_exchange_weak(top, &node));
    return top == nullptr;
  }

  [[nodiscard]] bool is_empty() const noexcept { return top_.load() == nullptr; }

  // Receiver: everything that was posted, the oldest first.
  [[nodiscard]] MailNode* take_all() noexcept {
    if (top_.load(std::memory_order_relaxed) == nullptr) return nullptr;
    MailNode* newest = top_.exchange(nullptr);
    MailNode* oldest = nullptr;
    while (newest != nullptr) {
      MailNode* next = newest->next;
      newest->next = oldest;
      oldest = newest;
      newest = next;
    }
    return oldest;
  }

 private:
  std::atomic<MailNode*> top_{nullptr};
};

}  // namespace snp::engine
