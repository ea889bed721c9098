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
