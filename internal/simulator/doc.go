// Package simulator imitates the Anthropic API on loopback: the Messages API
// with streams, tools, thinking and structured output, token counting, models,
// errors, delays and faults. Tests, the demo, the start-up probe of the CLI and
// the benchmarks use it as their upstream. It needs no account and reaches no
// network. Shapes and texts follow platform.claude.com/docs ("Messages",
// "Streaming messages", "Errors", "Models").
//
// # Answers
//
// The answer to a prompt is "Echo: " and the last text of the last user
// message. After a tool_result it is "Tool result: " and the result. With a
// tool_choice of any or tool it is a tool_use, and with a JSON schema as output
// format, or the CLI's tool StructuredOutput, it is JSON whose values follow the
// schema. Where the request asks for thinking, a thinking block comes first, with
// its text where the model shows it. Where a document has its citations
// enabled, the answer cites it. max_tokens and stop_sequences cut the text, never
// a tool's input.
//
// # Rules
//
// Each model refuses what the real one refuses (package pricing: sampling,
// thinking, effort, prefill, forced tools, output formats, max_tokens), and so
// do output formats and strict tools with schemas that structured outputs don't
// take. The words are the API's own where they are known: Claude Code and others
// read them. Unlike the real ones, models that think by default do so only where
// the request or a directive says so. A model that isn't known refuses nothing.
//
// # Tokens
//
// A token is four bytes of text (of tools: of their JSON), rounded up; an image
// counts 1,500 and a document 3,000, whatever they hold. Blocks with
// cache_control are counted as cache_creation_input_tokens the first time and
// as cache_read_input_tokens when the same prefix comes again; there is no least
// length and nothing expires but the oldest of 10,000 prefixes.
//
// # Directives
//
// A request can ask the simulator for more than the API has: in the header
// x-simulator, or in double brackets in the text of the last user message, for
// clients that can't send a header. Several stand in one pair of brackets with
// spaces between them, or in several pairs; what the prompt says wins over the
// header. The echo leaves them out. In a prompt, brackets whose first word is
// none of these are ordinary text.
//
//	delay=300ms     wait before the answer's header
//	interval=20ms   wait between two deltas; a plain answer waits for all of them together
//	tokens=50       answer exactly that many tokens, one a delta, in words that differ by prompt
//	text=...        answer exactly the rest of the brackets
//	echo-system     answer with the request's system prompt
//	think           think first, if the model thinks by default and nothing in the request forbids it
//	tool=NAME       answer with a call of that tool (or of the one whose name ends in __NAME); several
//	                are called at once; a web search of the API's own is answered too
//	input={...}     the input of the tool named before; the rest of the brackets
//	then            alone in its brackets: what follows is for the answer to the tools' results, and so on
//	stop=REASON     end with that stop_reason
//	error=529       answer with that status and the error type that belongs to it
//	retry-after=7   the Retry-After header of that error, in seconds
//	times=2         let that error happen only to the first two requests with this prompt
//	error-after=3   after three deltas an error event, overloaded_error, ends the stream
//	cut-after=3     after three deltas the connection is cut
//	hang-after=3    after three deltas nothing more until the client leaves
//	hang            no answer at all until the client leaves
package simulator
