package processapi

import "strings"

// ModelRule says that a model name of another vendor stands for Model: where it
// is Name, or, when Name is "", where Match begins a word or a number in it
// ("mini" is in gpt-4o-mini and not in gemini; "" fits every name). Both are in
// lower case.
type ModelRule struct {
	Name  string
	Match string
	Model string
}

// modelAuto leaves the choice of the model to the service.
const modelAuto = "auto"

// DefaultModels gives the contract's rules: small models become haiku, the
// largest of the GPT-4 generation and o1 opus, and all others sonnet.
func DefaultModels() []ModelRule {
	return []ModelRule{
		{Match: "mini", Model: "haiku"}, {Match: "nano", Model: "haiku"},
		{Match: "3.5", Model: "haiku"}, {Match: "flash", Model: "haiku"},
		{Match: "gpt-4o", Model: "opus"}, {Match: "gpt-4-turbo", Model: "opus"}, {Match: "o1", Model: "opus"},
		{Match: "gpt-4", Model: "sonnet"}, {Match: "gpt-5", Model: "sonnet"}, {Match: "gemini", Model: "sonnet"},
		{Model: "sonnet"},
	}
}

// substitute gives the model that stands for a name, and whether that is
// another one. Our own aliases and full ids stand for themselves.
func substitute(rules []ModelRule, name string) (model string, mapped bool) {
	lower := strings.ToLower(name)
	switch lower {
	case modelAuto, "haiku", "sonnet", "opus":
		return lower, false
	}
	if strings.HasPrefix(lower, "claude") {
		return lower, false
	}
	for _, rule := range rules {
		if rule.fits(lower) {
			return rule.Model, true
		}
	}
	return name, false
}

func (r ModelRule) fits(name string) bool {
	if r.Name != "" {
		return name == r.Name
	}
	if r.Match == "" {
		return true
	}
	for at := 0; ; at++ {
		i := strings.Index(name[at:], r.Match)
		if i < 0 {
			return false
		}
		at += i
		if at == 0 || class(name[at-1]) != class(r.Match[0]) {
			return true
		}
	}
}

// class tells letters, digits and the rest apart; no word begins between two
// of a class.
func class(b byte) int {
	switch {
	case b >= 'a' && b <= 'z':
		return 1
	case b >= '0' && b <= '9':
		return 2
	}
	return 0
}
