"""What a check of federation found, and what to do about it, in the other language. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# English as the check says it, Chinese; the first that fits counts. Names in braces stand for what differs; `found` has
# words of its own here.
FINDINGS: Final[Sequence[tuple[str, str]]] = (
    # The steps.
    ("settings", "设置"),
    ("place", "位置"),
    ("address", "地址"),
    ("certificate", "证书"),
    ("keys", "密钥"),
    ("own key", "本服务器密钥"),
    ("version", "版本"),
    ("latency", "延迟"),
    ("time", "时间"),
    # What this server's settings say.
    ("this server talks with no others", "本服务器不与其他服务器通信"),
    ("set `federation.enabled` to true", "将 `federation.enabled` 设为 true"),
    ("{server} is this server", "{server} 是本服务器"),
    ("this server's own lists keep {server} out", "本服务器自己的名单将 {server} 拒之门外"),
    (
        "change `federation.allow_servers` or `federation.deny_servers` if that isn't meant",
        "如非本意，请更改 `federation.allow_servers` 或 `federation.deny_servers`",
    ),
    ("this server may talk with {server}", "本服务器可以与 {server} 通信"),
    # Where it is.
    ("there is none ({found}); SRV records are next", "没有（{found}）；接下来查询 SRV 记录"),
    (
        '{url} must answer 200 with {"m.server": "HOST:PORT"} and a good certificate, or 404',
        '{url} 须返回 200 与 {{"m.server": "HOST:PORT"}} 并使用有效证书，或返回 404',
    ),
    ("{url} is of no use: {found}", "{url} 无法使用：{found}"),
    ("the page answers {status}", "页面返回 {status}"),
    ("the page has no m.server that is a server name", "页面中没有为服务器名称的 m.server"),
    ("nothing", "无内容"),
    ("a port is a number from 1 to 65535", "端口须为 1 至 65535 的数字"),
    ("{server} is not a server name", "{server} 不是服务器名称"),
    (
        "the name's owner has to correct the name, or its SRV record",
        "名称的所有者须更正该名称或其 SRV 记录",
    ),
    ("{host}, port {port_n} (step {step}: {found})", "{host}，端口 {port_n}（步骤 {step}：{found}）"),
    ("the name is an address", "名称是地址"),
    ("the name has a port", "名称含有端口"),
    ("`.well-known` names an address", "`.well-known` 指定了地址"),
    ("`.well-known` names a port", "`.well-known` 指定了端口"),
    ("by the SRV record of the name in `.well-known`", "按 `.well-known` 中名称的 SRV 记录"),
    ("by the old SRV record of the name in `.well-known`", "按 `.well-known` 中名称的旧式 SRV 记录"),
    ("the name in `.well-known`, at the default port", "`.well-known` 中的名称，默认端口"),
    ("by its SRV record", "按其 SRV 记录"),
    ("by its old SRV record", "按其旧式 SRV 记录"),
    ("the name itself, at the default port", "名称本身，默认端口"),
    ("{id} names {server}", "{id} 指向 {server}"),
    ("{server} says by its SRV record that it has no Matrix server", "{server} 的 SRV 记录表明其没有 Matrix 服务器"),
    # Names and addresses.
    ("no answer for the SRV record of {name}", "查询 {name} 的 SRV 记录无响应"),
    ("no answer in time for the SRV record of {name}", "查询 {name} 的 SRV 记录未及时响应"),
    ("look at the name servers of this machine and of the name", "请检查本机和该名称的域名服务器"),
    ("there is none; the default port is next", "没有；接下来使用默认端口"),
    (
        "`_matrix` is the old form: make the same record for `{record}`",
        "`_matrix` 是旧形式：请为 `{record}` 创建相同的记录",
    ),
    ("_matrix{record} is {found}", "_matrix{record} 为 {found}"),
    ("{host} has no address: {error}", "{host} 没有地址：{error}"),
    ("make an A or AAAA record for {host}", "请为 {host} 创建 A 或 AAAA 记录"),
    ("{addresses} may not be connected to", "不允许连接到 {addresses}"),
    (
        "add the range to `federation.allow_ip_ranges` if the server is in a network of yours",
        "如果该服务器在您自己的网络中，请将其网段加入 `federation.allow_ip_ranges`",
    ),
    ("a public name should have public addresses alone", "公开名称应只有公网地址"),
    # The connection.
    ("let port {port_n} reach the server at each of its addresses", "请使每个地址的端口 {port_n} 都能到达该服务器"),
    (
        "it must be valid for {host}, with its whole chain (`fullchain.pem`)",
        "证书须对 {host} 有效，并包含完整证书链（`fullchain.pem`）",
    ),
    (
        "for {host}, by {issuer}, {days} days left, {tls}",
        "用于 {host}，由 {issuer} 签发，剩余 {days} 天，{tls}",
    ),
    ("see to it that it is renewed", "请确保及时续期"),
    # What it answers.
    ("look at the proxy before the server", "请检查服务器前的代理"),
    (
        "let the proxy pass `/_matrix` on to the server, at the place where {server} leads",
        "请使代理在 {server} 指向的位置将 `/_matrix` 转发给服务器",
    ),
    ("{path} answers {status}, without keys", "{path} 返回 {status}，没有密钥"),
    ("the server there must be {server}, and sign with its own key", "该处的服务器须为 {server}，并以自己的密钥签名"),
    ("{keys}, signed by themselves", "{keys}，由自身签名"),
    ("{count_n} old", "{count_n} 个旧密钥"),
    ("no longer valid", "已失效"),
    (
        "set the clocks right; a server has to publish its keys anew before they end",
        "请校准时钟；服务器须在密钥到期前重新公布密钥",
    ),
    ("the keys are no JSON object", "密钥不是 JSON 对象"),
    ("the keys are another server's", "密钥属于其他服务器"),
    ("there is no ed25519 key", "没有 ed25519 密钥"),
    ("{name} must be an object of at most {count_n} keys", "{name} 须为最多含 {count_n} 个密钥的对象"),
    ("{name} must hold objects with a key", "{name} 须含带有密钥的对象"),
    ("{id} is not base64", "{id} 不是 base64"),
    ("{id} has {count_n} bytes, not 32", "{id} 有 {count_n} 字节，应为 32"),
    ("{id} is a key that anybody can have", "{id} 是任何人都能持有的密钥"),
    ("the keys aren't signed by {id}", "密钥没有 {id} 的签名"),
    ("{name} must be a time in milliseconds", "{name} 须为以毫秒计的时间"),
    ("its file can't be read by this user", "此用户无法读取其文件"),
    (
        "restart it if the key was rotated; else another server answers in your name: look at the proxy",
        "如果轮换过密钥，请重新启动；否则有其他服务器以您的名义响应：请检查代理",
    ),
    ("the server there doesn't use the key {id} of this one", "该处的服务器没有使用本服务器的密钥 {id}"),
    (
        "the server there uses {id}, as this one's key file says",
        "该处的服务器使用 {id}，与本服务器的密钥文件一致",
    ),
    ("{path} answers {status}, without a version", "{path} 返回 {status}，没有版本"),
    ("let the proxy pass it on", "请使代理转发它"),
    ("no answer to measure", "没有可测量的响应"),
    ("{ms} ms for one answer", "一次响应 {ms} 毫秒"),
    ("the server is busy, or far away", "服务器繁忙，或距离较远"),
    # Why there is no answer.
    ("no answer in time", "未及时响应"),
    ("no answer in {count_n} s", "{count_n} 秒内未响应"),
    ("no connection: {error}", "无法连接：{error}"),
    ("no answer: {error}", "未响应：{error}"),
    ("no TLS: {found}", "TLS 错误：{found}"),
    ("TLS: {error}", "TLS 错误：{error}"),
    ("port {port_n} is another protocol's", "端口 {port_n} 属于其他协议"),
    ("only http and https URLs are fetched", "仅获取 http 和 https 地址"),
    ("not a URL", "不是网址"),
    ("an address that may not be connected to", "不允许连接的地址"),
    ("a redirect leads from https to http", "重定向从 https 转到 http"),
    ("no end after {count_n} s", "{count_n} 秒后仍未结束"),
    (
        "look at the network between the two, or type `hansa federation check`, which waits longer",
        "请检查两者之间的网络，或运行 `hansa federation check`（等待时间更长）",
    ),
    ("the answer has more than {count_n} bytes", "响应超过 {count_n} 字节"),
    ("the answer is no HTTP, or its headers are too large", "响应不是 HTTP，或其标头过大"),
    ("timeout: {found}", "超时：{found}"),
    ("unreachable: {found}", "无法连接：{found}"),
    ("tls: {found}", "{found}"),
    ("too_large: {found}", "{found}"),
    ("refused_address: {found}", "{found}"),
    # What was asked for: an address, or a path.
    ("{id}: {found}", "{id}：{found}"),
)
