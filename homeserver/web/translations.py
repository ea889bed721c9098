"""What pages and mails say, in each language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LANGUAGES: Final = ("en", "zh")
Text = str

# key → English, Chinese
_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "confirmed_title": ("Address confirmed", "地址已确认"),
    "confirmed_text": (
        "Your e-mail address is confirmed. You can go back to the app where you began.",
        "您的电子邮件地址已确认。您可以返回开始操作的应用。",
    ),
    "not_confirmed_title": ("This link does not work", "此链接无效"),
    "not_confirmed_text": (
        "It is wrong, was used before or has expired. Ask for a new mail in the app where you began.",
        "链接有误、已被使用或已过期。请在开始操作的应用中重新获取邮件。",
    ),
    "stage_terms_title": ("Accept the terms", "接受条款"),
    "stage_terms_text": ("To go on, {server} asks you to read and accept:", "若要继续，{server} 请您阅读并接受："),
    "stage_terms_button": ("I accept", "我接受"),
    "stage_token_title": ("Registration token", "注册令牌"),
    "stage_token_text": (
        "Registering on {server} needs a token. Enter the one that you were given.",
        "在 {server} 注册需要令牌。请输入您收到的令牌。",
    ),
    "stage_token_button": ("Continue", "继续"),
    "registration_token": ("Registration token", "注册令牌"),
    "stage_password_title": ("Confirm that it is you", "确认是您本人"),
    "stage_password_text": ("Enter the password of your account on {server}.", "请输入您在 {server} 的账户密码。"),
    "stage_password_button": ("Confirm", "确认"),
    "password": ("Password", "密码"),
    "stage_dummy_title": ("Continue", "继续"),
    "stage_dummy_text": (
        "Nothing more is needed: {server} only asks you to go on.",
        "无需其他操作：请继续使用 {server}。",
    ),
    "stage_dummy_button": ("Continue", "继续"),
    "stage_work_title": ("Show that you are no robot", "证明您不是机器人"),
    "stage_work_text": (
        "{server} has your device solve a small task. You need do nothing but go on.",
        "{server} 让您的设备完成一个小任务。您只需继续即可。",
    ),
    "stage_work_button": ("Continue", "继续"),
    "work_goes_on": ("Your device is working on it. One moment, please.", "您的设备正在处理，请稍候。"),
    "work_asked": (
        "To keep programs out, your device has to work for a moment: give the password again and go on.",
        "为防止程序注册，您的设备需要进行片刻计算：请再次输入密码并继续。",
    ),
    "stage_wrong": ("That is not right. Please try again.", "不正确，请重试。"),
    "too_often": ("Too many tries. Please wait a little.", "尝试次数过多，请稍候再试。"),
    "stage_done_title": ("Done", "完成"),
    "stage_done_text": ("You can close this window and go back to your app.", "您可以关闭此窗口并返回应用。"),
    "stage_lost_title": ("This page is no longer open", "此页面已失效"),
    "stage_lost_text": ("Please begin again in your app.", "请在应用中重新开始。"),
    "login_title": ("Log in", "登录"),
    "login_text": ("With your account on {server}.", "使用您在 {server} 的账户。"),
    "login_button": ("Log in", "登录"),
    "user_name": ("User name", "用户名"),
    "login_wrong": ("User name or password is wrong.", "用户名或密码错误。"),
    "login_failed": ("That did not work. Please try again later.", "登录失败，请稍后再试。"),
    "login_done": ("You are logged in. You can go back to your app.", "您已登录，可以返回应用。"),
    "needs_script": ("This page needs JavaScript.", "此页面需要 JavaScript。"),
    "continue": ("Continue", "继续"),
    "sign_in": ("Sign in", "登录"),
    "sign_in_to": ("Sign in to {server}", "登录 {server}"),
    "passkeys": ("Passkeys", "通行密钥"),
    "passkeys_text": (
        "A passkey of your phone, computer or security key signs you in without a password.",
        "使用手机、电脑或安全密钥中的通行密钥，无需密码即可登录。",
    ),
    "passkey_add": ("Add a passkey", "添加通行密钥"),
    "passkey_name": ("Name of the passkey", "通行密钥名称"),
    "passkey_remove": ("Remove passkey", "移除通行密钥"),
    "passkey_sign_in": ("Sign in with a passkey", "使用通行密钥登录"),
    "passkey_failed": ("That did not work. Please try again.", "未能完成，请重试。"),
    "passkey_required": ("This account also needs its passkey.", "此账户还需要通行密钥。"),
    "passkey_is_required": (
        "Your password alone lets nobody in: a passkey is asked for after it.",
        "仅凭密码无法登录：输入密码后还需要通行密钥。",
    ),
    "passkey_not_required": (
        "Either your password or a passkey lets you in.",
        "使用密码或通行密钥均可登录。",
    ),
    "passkey_require": ("Ask for a passkey after the password", "输入密码后要求通行密钥"),
    "passkey_optional": ("Let the password alone be enough", "允许仅凭密码登录"),
    "passkey_second": ("One more step", "还差一步"),
    "passkey_second_text": ("Your password is right. Now use your passkey.", "密码正确。请使用您的通行密钥。"),
    "passkey_back": ("Back", "返回"),
    "sign_out": ("Sign out of this browser", "在此浏览器退出登录"),
    "wrong_password": (
        "User name or password are wrong, or there were too many tries.",
        "用户名或密码错误，或尝试次数过多。",
    ),
    "make_account": ("Make an account", "创建账户"),
    "make_account_on": ("Make an account on {server}", "在 {server} 创建账户"),
    "no_registration_here": ("No accounts can be made on this page.", "无法在此页面创建账户。"),
    "accept_terms": ("I accept the terms", "我接受条款"),
    "terms": ("Terms of service", "服务条款"),
    "privacy": ("Privacy policy", "隐私政策"),
    "continue_with": ("Continue with {name}", "使用 {name} 继续"),
    "sso_confirm_title": ("Go on to your app?", "继续前往您的应用？"),
    "sso_confirm_text": (
        "{host} will get into the account {user}. Go on only if that is the app in which you began.",
        "{host} 将获得账户 {user} 的访问权限。仅当这是您开始操作的应用时才继续。",
    ),
    "sso_failed_title": ("Signing in did not work", "登录失败"),
    "sso_failed_text": (
        "The sign-in service gave no usable answer, or it took too long. Go back to your app and try again.",
        "登录服务未返回有效结果，或耗时过长。请返回您的应用重试。",
    ),
    "allow_title": ("Let {client} into your account?", "允许 {client} 访问您的账户？"),
    "allow_text": (
        "{client} ({host}) will be able to read and send your messages, and to do all that you can do.",
        "{client}（{host}）将能够读取和发送您的消息，并执行您能执行的所有操作。",
    ),
    "signed_in_as": ("You are signed in as {user}.", "您已登录为 {user}。"),
    "goes_to": ("You will be sent to {host}.", "您将被转到 {host}。"),
    "device_is": ("The device is called {device}.", "设备标识为 {device}。"),
    "allow": ("Allow", "允许"),
    "deny": ("Deny", "拒绝"),
    "link_title": ("Link a device", "关联设备"),
    "link_text": (
        "{client} ({host}) wants to get into your account. Does the device in your hands show this code?",
        "{client}（{host}）请求访问您的账户。您手中的设备是否显示此代码？",
    ),
    "link_warning": (
        "Allow it only if you have begun this yourself, on a device that is yours. Nobody else may ask you for it.",
        "仅当您本人在自己的设备上发起此操作时才允许。其他任何人都不应要求您这样做。",
    ),
    "user_code": ("Code on the device", "设备上的代码"),
    "wrong_code": ("There is no device with this code, or it took too long.", "没有使用此代码的设备，或代码已过期。"),
    "linked_title": ("The device is linked", "设备已关联"),
    "linked_text": ("You can close this page and go on with the device.", "您可以关闭此页面并继续使用设备。"),
    "not_linked_title": ("The device was not linked", "设备未关联"),
    "not_linked_text": ("It has no access to your account.", "它无法访问您的账户。"),
    "bad_client_title": ("This request can't be answered", "无法处理此请求"),
    "bad_client_text": (
        "The app that sent you here is not known, or asks to send you somewhere it did not register.",
        "将您转到此处的应用未知，或请求将您转到未注册的地址。",
    ),
    "account": ("Your account", "您的账户"),
    "devices": ("Where you are signed in", "已登录的设备"),
    "no_devices": ("Nowhere.", "无。"),
    "end_session": ("Sign out", "退出登录"),
    "change_password": ("Change password", "更改密码"),
    "password_now": ("Your password now", "当前密码"),
    "password_new": ("New password", "新密码"),
    "password_changed_title": ("Your password was changed", "密码已更改"),
    "password_changed_text": ("All devices were signed out.", "所有设备均已退出登录。"),
    "reset": ("Reset", "重置"),
    "reset_title": ("Reset your cryptographic identity", "重置您的加密身份"),
    "reset_text": (
        "Your app may then make new keys for you. Others will see that you are no longer verified.",
        "之后您的应用可以为您创建新密钥。其他人会看到您不再是已验证状态。",
    ),
    "reset_allowed_title": ("Your identity may be reset", "可以重置您的身份"),
    "reset_allowed_text": ("Go back to your app within ten minutes.", "请在十分钟内返回您的应用。"),
    "deactivate": ("Deactivate", "停用"),
    "deactivate_title": ("Deactivate your account", "停用您的账户"),
    "deactivate_text": (
        "This can't be undone: you leave all rooms, and nobody can use the name again.",
        "此操作无法撤销：您将离开所有房间，且该名称无法再被使用。",
    ),
    "deactivated_title": ("Your account is deactivated", "您的账户已停用"),
    "deactivated_text": ("You can close this page.", "您可以关闭此页面。"),
    "search_title": ("Search messages", "搜索消息"),
    "search_label": ("What to look for", "搜索内容"),
    "search_placeholder": ('Words, "phrases", from:me, has:link …', '词语、"短语"、from:me、has:link……'),
    "search_button": ("Search", "搜索"),
    "search_wrong": ("This can't be meant so:", "无法理解此搜索："),
    "search_too_often": ("You search very often. Please wait a moment.", "搜索过于频繁，请稍候。"),
    "search_active": ("Narrowed down by", "当前筛选条件"),
    "search_without": ("remove", "移除"),
    "search_help": ("What you can type", "搜索语法"),
    "search_help_words": ("messages with both words", "同时包含这两个词的消息"),
    "search_help_phrase": ("one after the other", "两个词紧接着出现"),
    "search_help_not": ("the first without the second", "包含前者但不包含后者"),
    "search_help_or": ("either; ( ) makes groups", "包含其中之一；( ) 用于分组"),
    "search_help_prefix": ("words that begin so", "以此开头的词"),
    "search_help_fuzzy": ("words that are spelt alike", "拼写相近的词"),
    "search_help_from": ("what somebody said; from:me is you", "某人发送的消息；from:me 表示您自己"),
    "search_help_in": ("in a room, or in all rooms of a space", "在某个房间中，或某个空间的所有房间中"),
    "search_help_time": ("by time: a year, quarter, month or day", "按时间：年、季度、月或日"),
    "search_help_has": ("by what a message has", "按消息包含的内容"),
    "search_help_is": ("in threads; where you are mentioned", "消息列中的消息；提及您的消息"),
    "search_keys": (
        "Keys: / to the box, j and k through the results, Enter opens one, n to the next page.",
        "按键：/ 跳到搜索框，j 和 k 浏览结果，回车打开，n 下一页。",
    ),
    "search_keep": ("Tell me of new ones", "有新消息时通知我"),
    "search_is_kept": ("You will be told of new ones.", "有新消息时会通知您。"),
    "search_kept": ("Saved searches", "已保存的搜索"),
    "search_kept_text": (
        "The server tells you in a room of its own when somebody says something that matches.",
        "有匹配的新消息时，服务器会在其专用房间中通知您。",
    ),
    "search_end": ("End", "停止"),
    "search_try": ("For example:", "例如："),
    "search_none": ("Nothing found", "未找到结果"),
    "search_none_text": (
        "Try fewer words, another spelling (word~), or only how a word begins (wor*).",
        "请减少词语，尝试相近拼写（word~），或只输入词的开头（wor*）。",
    ),
    "search_one": ("1 message", "1 条消息"),
    "search_count": ("{count} messages", "{count} 条消息"),
    "search_by_recent": ("Newest first", "最新优先"),
    "search_by_rank": ("Best first", "相关优先"),
    "search_partial": (
        "Not everything could be searched just now: there may be more.",
        "目前无法搜索全部内容：可能还有更多结果。",
    ),
    "search_encrypted": (
        "Encrypted rooms that can't be searched here: {count}.",
        "无法在此搜索的加密房间：{count} 个。",
    ),
    "search_open": ("Open the message of", "打开消息，发送于"),
    "search_more": ("More messages", "更多消息"),
    "search_narrow": ("Narrow down", "缩小范围"),
    "search_rooms": ("Rooms", "房间"),
    "search_people": ("People", "用户"),
    "search_months": ("Months", "月份"),
    "search_with": ("With", "包含"),
    "search_kind_link": ("Link", "链接"),
    "search_kind_image": ("Image", "图片"),
    "search_kind_file": ("File", "文件"),
    "search_kind_video": ("Video", "视频"),
    "search_kind_audio": ("Audio", "音频"),
    "search_kind_code": ("Code", "代码"),
    "search_kind_poll": ("Poll", "投票"),
    "search_kind_name": ("Room name", "房间名称"),
    "search_kind_topic": ("Topic", "话题"),
    "mail_add_subject": ("Confirm your e-mail address for {server}", "确认您在 {server} 的电子邮件地址"),
    "mail_add_text": (
        "Somebody asked to add this e-mail address to an account on {server}. If it was you, open this link:",
        "有人请求将此电子邮件地址添加到 {server} 上的账户。如果是您本人，请打开此链接：",
    ),
    "mail_register_subject": ("Confirm your registration on {server}", "确认您在 {server} 的注册"),
    "mail_register_text": (
        "Somebody asked to register on {server} with this e-mail address. If it was you, open this link:",
        "有人请求使用此电子邮件地址在 {server} 注册。如果是您本人，请打开此链接：",
    ),
    "mail_password_subject": ("Set a new password on {server}", "在 {server} 设置新密码"),
    "mail_password_text": (
        "Somebody asked to set a new password for your account on {server}. If it was you, open this link, then go "
        "back to where you asked for it:",
        "有人请求为您在 {server} 上的账户设置新密码。如果是您本人，请打开此链接，然后返回您发起请求的地方：",
    ),
    "mail_taken_subject": ("You have an account on {server}", "您在 {server} 已有账户"),
    "mail_taken_text": (
        "Somebody asked to use this e-mail address on {server}, but it belongs to an account there already. If you "
        "forgot your password, choose “forgot password” in your app.",
        "有人请求在 {server} 使用此电子邮件地址，但它已属于那里的一个账户。"
        "如果您忘记了密码，请在应用中选择“忘记密码”。",
    ),
    "mail_ignore": (
        "If it was not you, do nothing: without the link nothing happens.",
        "如果不是您本人，请忽略此邮件：不打开链接就不会发生任何事。",
    ),
}


def translate(key: Text, language: str, values: Mapping[str, object]) -> str:
    """A text in a language that we have. Raises KeyError for one that doesn't exist."""
    text = _TEXTS[key][LANGUAGES.index(language)]
    return text.format(**values) if values else text


def text_keys() -> frozenset[str]:
    """All texts there are."""
    return frozenset(_TEXTS)
