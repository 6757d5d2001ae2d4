//! Payment, messaging, models and other services.

use super::Rule;
use crate::domain::Severity::{Critical, Low, Medium};

/// Services with their own token form.
pub(super) static RULES: &[Rule] = &[
    Rule::token(
        "slack-token",
        "Slack token",
        &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe"],
        r"\bxox[abeprs](?:\.xox[bp])?-(?:\d{1,14}-){1,4}[0-9A-Za-z-]{10,200}",
    )
    .prefix(5),
    Rule::token(
        "slack-app-token",
        "Slack app-level token",
        &["xapp-"],
        r"\bxapp-\d-[0-9A-Z]{8,14}-\d{8,16}-[0-9a-f]{60,70}\b",
    )
    .prefix(5),
    Rule::token(
        "slack-webhook",
        "Slack webhook address",
        &["hooks.slack.com"],
        r"hooks\.slack\.com/(?:services|workflows|triggers)/([0-9A-Za-z+/]{30,80})",
    )
    .severity(Medium),
    Rule::token(
        "stripe-live-key",
        "Stripe live key",
        &["sk_live_", "rk_live_", "sk_prod_", "rk_prod_"],
        r"\b[rs]k_(?:live|prod)_[0-9A-Za-z]{16,250}\b",
    )
    .severity(Critical)
    .prefix(8),
    Rule::token(
        "stripe-test-key",
        "Stripe test key",
        &["sk_test_", "rk_test_"],
        r"\b[rs]k_test_[0-9A-Za-z]{16,250}\b",
    )
    .severity(Low)
    .prefix(8),
    Rule::token(
        "stripe-webhook-secret",
        "Stripe webhook signing secret",
        &["whsec_"],
        r"\bwhsec_[0-9A-Za-z+/=]{24,80}",
    )
    .prefix(6),
    Rule::token(
        "square-token",
        "Square token",
        &["sq0atp-", "sq0csp-"],
        r"\bsq0(?:atp-[\w-]{22}|csp-[\w-]{43})",
    )
    .prefix(7),
    Rule::token(
        "shopify-token",
        "Shopify token",
        &["shpat_", "shpca_", "shppa_", "shpss_"],
        r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b",
    )
    .prefix(6),
    Rule::token(
        "paypal-braintree-token",
        "Braintree access token",
        &["access_token$production$"],
        r"access_token\$production\$[0-9a-z]{16}\$[0-9a-f]{32}\b",
    )
    .severity(Critical),
    Rule::token(
        "twilio-key",
        "Twilio API key",
        &["twilio"],
        r"(?i)twilio[\w\s.'\x22:=-]{0,40}\b(SK[0-9a-fA-F]{32})\b",
    )
    .prefix(2),
    Rule::token(
        "sendgrid-key",
        "SendGrid API key",
        &["sg."],
        r"\bSG\.[\w-]{22}\.[\w-]{43}",
    )
    .prefix(3),
    Rule::token(
        "mailgun-key",
        "Mailgun key",
        &["mailgun"],
        r"(?i)mailgun[\w\s.'\x22:=-]{0,40}\b(key-[0-9a-f]{32})\b",
    )
    .prefix(4),
    Rule::token(
        "mailchimp-key",
        "Mailchimp key",
        &["mailchimp"],
        r"(?i)mailchimp[\w\s.'\x22:=-]{0,40}\b([0-9a-f]{32}-us\d{1,2})\b",
    ),
    Rule::token(
        "telegram-bot-token",
        "Telegram bot token",
        &[":aa"],
        r"\b\d{8,10}:AA[\w-]{33}",
    )
    .entropy(3.8),
    Rule::token(
        "discord-bot-token",
        "Discord bot token",
        &["discord"],
        r"\b[MNO][0-9A-Za-z_-]{23,25}\.[\w-]{6}\.[\w-]{27,38}",
    )
    .entropy(3.8),
    Rule::token(
        "discord-webhook",
        "Discord webhook address",
        &["/api/webhooks/"],
        r"discord(?:app)?\.com/api/webhooks/\d{17,20}/([\w-]{60,70})",
    )
    .severity(Medium),
    Rule::token(
        "openai-key",
        "OpenAI API key",
        &["t3blbkfj"],
        r"\bsk-(?:(?:proj|svcacct|admin|None)-)?[\w-]{20,100}T3BlbkFJ[\w-]{20,100}",
    )
    .prefix(3),
    Rule::token(
        "anthropic-key",
        "Anthropic API key",
        &["sk-ant-"],
        r"\bsk-ant-(?:api|admin|oat)\d{2}-[\w-]{80,120}",
    )
    .prefix(7),
    Rule::token(
        "huggingface-token",
        "Hugging Face token",
        &["hf_"],
        r"\bhf_[A-Za-z]{34}\b",
    )
    .prefix(3),
    Rule::token(
        "perplexity-key",
        "Perplexity API key",
        &["pplx-"],
        r"\bpplx-[0-9A-Za-z]{48}\b",
    )
    .prefix(5),
    Rule::token(
        "groq-key",
        "Groq API key",
        &["gsk_"],
        r"\bgsk_[0-9A-Za-z]{52}\b",
    )
    .prefix(4),
    Rule::token(
        "linear-key",
        "Linear API key",
        &["lin_api_"],
        r"\blin_api_[0-9A-Za-z]{40}\b",
    )
    .prefix(8),
    Rule::token(
        "notion-token",
        "Notion token",
        &["ntn_"],
        r"\bntn_\d{11}[0-9A-Za-z]{35}\b",
    )
    .prefix(4),
    Rule::token(
        "figma-token",
        "Figma access token",
        &["figd_"],
        r"\bfigd_[\w-]{40}",
    )
    .prefix(5),
    Rule::token(
        "postman-key",
        "Postman API key",
        &["pmak-"],
        r"\bPMAK-[0-9a-f]{24}-[0-9a-f]{34}\b",
    )
    .prefix(5),
    Rule::token(
        "airtable-token",
        "Airtable access token",
        &["pat"],
        r"\bpat[0-9A-Za-z]{14}\.[0-9a-f]{64}\b",
    )
    .prefix(3),
    Rule::token(
        "hubspot-token",
        "HubSpot private app token",
        &["pat-na1-", "pat-eu1-"],
        r"\bpat-(?:na|eu)1-[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b",
    )
    .prefix(8),
    Rule::token(
        "typeform-token",
        "Typeform token",
        &["tfp_"],
        r"\btfp_[\w.=-]{59}",
    )
    .prefix(4),
    Rule::token(
        "duffel-token",
        "Duffel token",
        &["duffel_"],
        r"\bduffel_live_[\w=-]{43}",
    )
    .prefix(12),
    Rule::token(
        "easypost-key",
        "EasyPost live key",
        &["ezak"],
        r"\bEZAK[0-9A-Za-z]{54}\b",
    )
    .prefix(4),
    Rule::token(
        "resend-key",
        "Resend API key",
        &["re_"],
        r"\bre_[0-9A-Za-z]{8}_[0-9A-Za-z]{24}\b",
    )
    .entropy(3.8)
    .prefix(3),
];
