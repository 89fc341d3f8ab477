package claudecli

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Emptying is a way to take a conversation out of a process between requests.
type Emptying string

// The ways, best first.
const (
	// EmptyByRewind takes the prompts back one by one, the last first
	// (rewind_conversation). Nothing of the CLI's own is left behind.
	EmptyByRewind Emptying = "rewind"
	// EmptyByClear runs /clear, which leaves about 480 bytes of the CLI's own
	// command text in front of the next prompt.
	EmptyByClear Emptying = "clear"
	// EmptyNever means that a process serves one request.
	EmptyNever Emptying = "none"
)

// Features is what an installed CLI can do, as Probe found by looking at what
// reached the upstream.
type Features struct {
	Version  string
	Emptying Emptying
	// ChangeSystem says that a new system prompt can be set after the first.
	ChangeSystem bool
	// LiveSettings says that model, thinking and max_tokens can be set between
	// turns (apply_flag_settings).
	LiveSettings bool
	// ExtraBody says that members of the upstream body can be set between turns:
	// Settings' Effort and Format.
	ExtraBody bool
	// ClientTools says that Settings' Tools and ToolChoice can be set between
	// turns, and that a turn parks on a call and is resumed.
	ClientTools bool
	// OneCall says that the CLI can be kept from calling its upstream a second time
	// within a turn: Settings' Bounded.
	OneCall bool
	// Why tells for each mode that was passed over what it failed at.
	Why []string
}

// Mode is a short text for the log and /health.
func (f Features) Mode() string {
	var mode string
	switch f.Emptying {
	case EmptyByRewind:
		mode = "warm workers, emptied by rewind_conversation"
	case EmptyByClear:
		mode = "warm workers, emptied by /clear"
	case EmptyNever:
		mode = "a fresh parked process per request"
	default:
		return "not probed yet"
	}
	if f.Version != "" {
		mode = "Claude Code " + f.Version + ": " + mode
	}
	if len(f.Why) > 0 {
		mode += " (" + strings.Join(f.Why, "; ") + ")"
	}
	return mode
}

// Class groups requests whose system prompts one process can serve in turn: a
// process that has served one class can't serve another. A CLI that changes
// its system prompt still can't go back to none (set_model refuses an empty
// one); a CLI that doesn't serves exactly one.
func (f Features) Class(system string) string {
	switch {
	case !f.ChangeSystem:
		sum := sha256.Sum256([]byte(system))
		return "=" + hex.EncodeToString(sum[:])
	case system == "":
		return "none"
	}
	return "some"
}
