#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "snp/commands/netsh.h"

namespace snp::commands {
namespace {

// Each with its parent before it. ipv4 and ipv6 are what later Windows made of ip.
constexpr std::string_view kContexts[] = {"interface", "interface ip", "interface ipv4",
                                          "interface ipv6", "interface tcp"};

char lower(char c) {
  return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
}

bool is_prefix(std::string_view part, std::string_view word) {
  return part.size() <= word.size() &&
         std::equal(part.begin(), part.end(), word.begin(),
                    [](char a, char b) { return lower(a) == lower(b); });
}

bool is_same(std::string_view a, std::string_view b) {
  return a.size() == b.size() && is_prefix(a, b);
}

std::string join(std::string_view context, std::string_view word) {
  return context.empty() ? std::string(word) : std::string(context) + " " + std::string(word);
}

std::string_view first_word(std::string_view text) {
  return text.substr(0, text.find(' '));
}

// The word of `candidates` that is meant: the same, or the only one that begins so. A plural may
// stand for its singular.
Result<std::string> match(std::string_view word, const std::vector<std::string>& candidates) {
  std::string found;
  std::string all;
  std::size_t count = 0;
  for (const std::string& candidate : candidates) {
    if (is_same(word, candidate)) return candidate;
    if (!is_prefix(word, candidate) && !is_same(word, candidate + "s")) continue;
    found = candidate;
    all += (all.empty() ? "" : ", ") + candidate;
    ++count;
  }
  if (count == 1) return found;
  if (count > 1) return fail(Errc::kInvalid, "'" + std::string(word) + "' is ambiguous: " + all);
  return fail(Errc::kNotFound, "The following command was not found: " + std::string(word) + ".");
}

void add_unique(std::vector<std::string>& words, std::string_view word) {
  if (std::find(words.begin(), words.end(), word) == words.end()) words.emplace_back(word);
}

std::vector<std::string> contexts_in(std::string_view context) {
  std::vector<std::string> names;
  for (const std::string_view each : kContexts) {
    const std::size_t blank = each.rfind(' ');
    const std::string_view parent = blank == std::string_view::npos ? "" : each.substr(0, blank);
    if (parent == context) names.emplace_back(each.substr(blank + 1));
  }
  return names;
}

// First words of commands in the context, or second words behind a first one.
std::vector<std::string> words_in(std::string_view context, std::string_view first = {}) {
  std::vector<std::string> words;
  for (const NetshCommand& command : all_netsh_commands()) {
    if (command.context != context) continue;
    if (first.empty())
      add_unique(words, first_word(command.words));
    else if (first_word(command.words) == first && command.words.size() > first.size())
      add_unique(words, command.words.substr(first.size() + 1));
  }
  return words;
}

const NetshCommand* find(std::string_view context, std::string_view words) {
  for (const NetshCommand& command : all_netsh_commands())
    if (command.context == context && command.words == words) return &command;
  return nullptr;
}

std::vector<std::string> split_choices(std::string_view values) {
  std::vector<std::string> choices;
  while (!values.empty()) {
    const std::size_t bar = values.find('|');
    choices.emplace_back(values.substr(0, bar));
    values.remove_prefix(bar == std::string_view::npos ? values.size() : bar + 1);
  }
  return choices;
}

Failure wrong_syntax(const NetshCommand& command, const std::string& why) {
  return fail(Errc::kInvalid, why + " Usage: " + netsh_usage(command));
}

// "tag", "=", "value" and the like become "tag=value".
std::vector<std::string> join_equals(std::span<const std::string> words) {
  std::vector<std::string> joined;
  bool is_open = false;
  for (const std::string& word : words) {
    if (!joined.empty() && (is_open || word.front() == '='))
      joined.back() += word;
    else
      joined.push_back(word);
    is_open = joined.back().back() == '=';
  }
  return joined;
}

Result<std::string> check_value(const NetshCommand& command, const NetshParameter& parameter,
                                const std::string& value) {
  if (value.empty()) return wrong_syntax(command, std::string(parameter.tag) + " needs a value.");
  if (parameter.values.front() == '<') return value;
  auto choice = match(value, split_choices(parameter.values));
  if (!choice)
    return wrong_syntax(command, "'" + value + "' is not an acceptable value for '" +
                                     std::string(parameter.tag) + "'.");
  return choice;
}

Result<NetshValues> take_values(const NetshCommand& command, std::span<const std::string> words) {
  NetshValues values(command.parameters.size());
  std::size_t next = 0;  // for a value without a tag
  for (const std::string& word : join_equals(words)) {
    const std::size_t equals = word.find('=');
    std::string value = word;
    std::size_t place = next;
    if (equals != std::string::npos) {
      std::vector<std::string> tags;
      for (const NetshParameter& parameter : command.parameters)
        tags.emplace_back(parameter.tag);
      const auto tag = match(std::string_view(word).substr(0, equals), tags);
      if (!tag)
        return wrong_syntax(
            command, "'" + word.substr(0, equals) + "' is not a valid argument for this command.");
      place = static_cast<std::size_t>(std::find(tags.begin(), tags.end(), *tag) - tags.begin());
      value = word.substr(equals + 1);
    }
    if (place >= values.size() || values[place])
      return wrong_syntax(command, "'" + word + "' is one argument too many.");
    auto checked = check_value(command, command.parameters[place], value);
    if (!checked) return tl::unexpected(checked.error());
    values[place] = std::move(*checked);
    next = place + 1;
  }
  for (std::size_t i = 0; i < values.size(); ++i)
    if (command.parameters[i].is_required && !values[i])
      return wrong_syntax(command, "'" + std::string(command.parameters[i].tag) + "' is missing.");
  return values;
}

// How far the words lead: contexts, then the words of a command.
struct Place {
  std::string context;
  std::string words;      // of a command, so far
  std::size_t taken = 0;  // words used up
};

Result<Place> walk(const std::vector<std::string>& words) {
  Place place;
  while (place.taken < words.size() && find(place.context, place.words) == nullptr) {
    std::vector<std::string> candidates = words_in(place.context, place.words);
    if (place.words.empty())
      for (const std::string& context : contexts_in(place.context))
        add_unique(candidates, context);
    const auto word = match(words[place.taken], candidates);
    if (!word) return tl::unexpected(word.error());
    ++place.taken;
    const auto children = contexts_in(place.context);
    const bool is_context =
        place.words.empty() && std::find(children.begin(), children.end(), *word) != children.end();
    if (is_context)
      place.context = join(place.context, *word);
    else
      place.words = join(place.words, *word);
  }
  return place;
}

}  // namespace

Result<NetshLine> parse_netsh(const std::vector<std::string>& words) {
  const auto place = walk(words);
  if (!place) return tl::unexpected(place.error());
  NetshLine line;
  line.context = place->context;
  if (place->words.empty()) return line;
  line.command = find(place->context, place->words);
  if (line.command == nullptr) {
    std::string next;
    for (const std::string& word : words_in(place->context, place->words))
      next += (next.empty() ? "" : ", ") + word;
    return fail(Errc::kInvalid, "'" + place->words + "' needs one of: " + next);
  }
  auto values = take_values(*line.command, std::span(words).subspan(place->taken));
  if (!values) return tl::unexpected(values.error());
  line.values = std::move(*values);
  return line;
}

std::vector<std::string> split_netsh(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool is_quoted = false;
  bool is_begun = false;
  const auto end_word = [&] {
    if (is_begun) words.push_back(std::move(word));
    word.clear();
    is_begun = false;
  };
  for (const char c : line) {
    if (c == '"') {
      is_quoted = !is_quoted;
      is_begun = true;
    } else if (!is_quoted && (c == ' ' || c == '\t' || c == '\r')) {
      end_word();
    } else if (!is_quoted && c == '#' && !is_begun) {
      break;  // a comment, as dump writes them
    } else {
      word += c;
      is_begun = true;
    }
  }
  end_word();
  std::erase(words, "");
  return words;
}

std::vector<std::string> complete_netsh(const std::vector<std::string>& words) {
  const auto place = walk(words);
  if (!place) return {};
  if (const NetshCommand* command = find(place->context, place->words)) {
    std::vector<std::string> tags;
    for (const NetshParameter& parameter : command->parameters)
      for (const std::string& value : parameter.values.front() == '<'
                                          ? std::vector<std::string>{""}
                                          : split_choices(parameter.values))
        tags.push_back(std::string(parameter.tag) + "=" + value);
    return tags;
  }
  std::vector<std::string> next = words_in(place->context, place->words);
  if (place->words.empty())
    for (const std::string& context : contexts_in(place->context))
      add_unique(next, context);
  std::sort(next.begin(), next.end());
  return next;
}

std::string netsh_usage(const NetshCommand& command) {
  std::string text(command.words);
  for (const NetshParameter& parameter : command.parameters) {
    const std::string shown = fmt::format("[{}=]{}", parameter.tag, parameter.values);
    text += parameter.is_required ? " " + shown : " [" + shown + "]";
  }
  return text;
}

std::string netsh_help(std::string_view context) {
  std::string text = "\n";
  if (!context.empty()) text += fmt::format("Commands in the context '{}':\n", context);
  for (const NetshCommand& command : all_netsh_commands())
    if (command.context == context)
      text += fmt::format("{:<28} - {}\n", command.words, command.help);
  if (const auto contexts = contexts_in(context); !contexts.empty()) {
    text += "\nThe following sub-contexts are available:\n";
    for (const std::string& name : contexts)
      text += " " + name;
    text += "\n";
  }
  text += fmt::format("\n{:<28} - {}\n", "..", "Goes up one context level.");
  text += fmt::format("{:<28} - {}\n", "? or help", "Displays a list of commands.");
  text += fmt::format("{:<28} - {}\n", "exec FILE", "Runs the commands in a file.");
  text += fmt::format("{:<28} - {}\n", "pushd CONTEXT, popd",
                      "Goes into a context, and back from where it was called.");
  return text + fmt::format("{:<28} - {}\n", "bye, exit or quit", "Exits the program.");
}

}  // namespace snp::commands
