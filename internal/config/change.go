package config

import (
	"reflect"
	"strings"
	"unicode"
)

// live are the settings that hold as soon as a running service reads them again, by
// their fields. TLSCert and TLSKey are among them where both are set before and
// after.
var live = map[string]bool{
	"DefaultUse": true, "ModelMap": true, "Prices": true, "Strict": true, "ToolPassthrough": true, "PromptCaching": true,
	"Fallback": true, "ResponseTTL": true, "MaxBodyBytes": true, "WebhookURL": true, "WebhookSecret": true, "LogLevel": true,
	"ShutdownTimeout": true, "RequestTimeout": true, "CORSOrigin": true, "WorkingRoots": true, "TLSCert": true, "TLSKey": true, "Anthropic": true, "Dashboard": true,
}

// NeedStart names the settings, as flags, in which c differs from what a service
// was started with and that only a start can change. Both must be valid.
func (c *Config) NeedStart(started *Config) []string {
	names := differ(reflect.ValueOf(*started), reflect.ValueOf(*c), false)
	if c.TLS() != started.TLS() {
		names = append(names, "--tls-cert")
	}
	return names
}

// Changed names the settings, as flags or variables, in which c differs from a former
// configuration and that hold at once. Both must be valid.
func (c *Config) Changed(former *Config) []string {
	return differ(reflect.ValueOf(*former), reflect.ValueOf(*c), true)
}

// differ names what differs of the settings that hold at once, or of the others.
func differ(was, is reflect.Value, atOnce bool) (names []string) {
	for i := range was.NumField() {
		field := was.Type().Field(i)
		switch {
		case field.Anonymous:
			names = append(names, differ(was.Field(i), is.Field(i), atOnce)...)
		case field.IsExported() && live[field.Name] == atOnce && !reflect.DeepEqual(was.Field(i).Interface(), is.Field(i).Interface()):
			names = append(names, flag(field))
		}
	}
	return names
}

// flag is a field's flag, as kong names it, or its variables.
func flag(field reflect.StructField) string {
	if name := field.Tag.Get("name"); name != "" {
		return "--" + name
	}
	switch field.Name { // those that only the environment says
	case "Anthropic":
		return "ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN, ANTHROPIC_BASE_URL"
	case "WebhookSecret":
		return "CLAUDE_API_WEBHOOK_SECRET"
	}
	var b strings.Builder
	b.WriteString("--")
	text := []rune(field.Name)
	for i, r := range text {
		// A word begins at an upper-case letter that follows a lower-case one, or
		// that precedes one.
		if i > 0 && unicode.IsUpper(r) && (unicode.IsLower(text[i-1]) || i+1 < len(text) && unicode.IsLower(text[i+1])) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
