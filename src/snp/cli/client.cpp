#include "snp/cli/client.h"

#include <cstring>
#include <string>
#include <vector>

#include "snp/ipc/control_protocol.h"
#include "snp/ipc/message_socket.h"

namespace snp::cli {
namespace {

using commands::Json;

Result<std::string> receive_answer(int socket) {
  std::vector<std::byte> buffer(ipc::kMaxMessage);
  std::string text;
  for (;;) {
    const auto part = ipc::receive_message(socket, buffer);
    if (!part) return tl::unexpected(part.error());
    ipc::MessageHeader header;
    if (part->length < sizeof header)
      return fail(Errc::kProtocol, "snpd ended before it answered; see its log");
    std::memcpy(&header, buffer.data(), sizeof header);
    if (header.kind == ipc::MessageKind::kRefused)
      return fail(Errc::kProtocol, "snpd refused the command; see its log");
    text.append(reinterpret_cast<const char*>(buffer.data()) + sizeof header,
                part->length - sizeof header);
    if (header.kind == ipc::MessageKind::kReplyLast) return text;
  }
}

}  // namespace

Result<UniqueFd> connect_snpd() {
  auto socket = ipc::connect_control();
  if (!socket && socket.error().sys_errno == ECONNREFUSED)
    return fail(Errc::kNotFound,
                "no snpd serves this network namespace; start one, or let 'snp run' do it");
  return socket;
}

Result<Json> receive_result(int socket) {
  const auto answer = receive_answer(socket);
  if (!answer) return tl::unexpected(answer.error());
  try {
    const Json json = Json::parse(*answer);
    if (!json.at("ok").get<bool>())
      return fail(Errc::kInvalid, json.at("error").get<std::string>());
    return json.at("result");
  } catch (const Json::exception& error) {
    return fail(Errc::kProtocol, std::string("snpd's answer is no answer: ") + error.what());
  }
}

Result<Json> ask(const commands::CommandSpec& command, const Json& arguments) {
  const auto socket = connect_snpd();
  if (!socket) return tl::unexpected(socket.error());
  const std::string text =
      Json{{"command", std::string(command.path)}, {"arguments", arguments}}.dump();
  const ipc::MessageHeader header{ipc::kProtocolMagic, ipc::MessageKind::kCommand, 0};
  std::vector<std::byte> message(sizeof header + text.size());
  std::memcpy(message.data(), &header, sizeof header);
  std::memcpy(message.data() + sizeof header, text.data(), text.size());
  if (message.size() > ipc::kMaxMessage)
    return fail(Errc::kInvalid, "the command is longer than snpd takes, " +
                                    std::to_string(ipc::kMaxMessage) + " bytes");
  if (auto sent = ipc::send_message(socket->get(), message); !sent)
    return tl::unexpected(sent.error());
  return receive_result(socket->get());
}

}  // namespace snp::cli
