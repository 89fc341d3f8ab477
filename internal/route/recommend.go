package route

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The bounds of the contract's rules.
const (
	scarceBudget = 1_000  // tokens left, under which only haiku is affordable
	lowBudget    = 5_000  // tokens left, under which a complex task gets haiku
	largeContext = 10_000 // tokens, over which opus is wanted
	shortPrompt  = 100    // characters, under which a prompt may be simple
)

// Recommend chooses a model for a prompt: one of the aliases, and which rule
// spoke. contextTokens is the size of the whole context; budgetLeft is what the
// caller may still spend in tokens, nil without a limit. The rules are tried in
// the contract's order, and words are matched whole, so that "latest" is no
// test.
func Recommend(prompt string, contextTokens int, budgetLeft *int64) (alias, reasoning string) {
	if budgetLeft != nil && *budgetLeft < scarceBudget {
		return Haiku, fmt.Sprintf("under %d tokens of the budget are left: haiku is the cheapest", scarceBudget)
	}
	if contextTokens > largeContext {
		return Opus, fmt.Sprintf("the context is over %d tokens: opus handles it best", largeContext)
	}
	easy, hard := words(prompt)
	if easy != "" && utf8.RuneCountInString(prompt) < shortPrompt {
		return Haiku, fmt.Sprintf("a short prompt with the simple word %q: haiku is enough", easy)
	}
	if hard != "" {
		if budgetLeft != nil && *budgetLeft < lowBudget {
			return Haiku, fmt.Sprintf("a complex task (%q), but under %d tokens of the budget are left: haiku", hard, lowBudget)
		}
		return Sonnet, fmt.Sprintf("a complex task (%q): sonnet", hard)
	}
	return Sonnet, "no rule fits: sonnet is the default"
}

// words finds the first simple and the first complex word of a prompt.
func words(prompt string) (easy, hard string) {
	for word := range strings.FieldsFuncSeq(prompt, func(r rune) bool { return !unicode.IsLetter(r) }) {
		switch word = strings.ToLower(word); word {
		case "list", "format", "count", "show", "get", "create", "add":
			if easy == "" {
				easy = word
			}
		case "analyze", "architect", "debug", "design", "implement", "optimize", "refactor", "review", "test",
			"diagnose", "strategy":
			if hard == "" {
				hard = word
			}
		}
		if easy != "" && hard != "" {
			break
		}
	}
	return easy, hard
}
