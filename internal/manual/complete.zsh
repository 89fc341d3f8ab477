#compdef claude-api
# zsh completion for claude-api. It asks the program itself.
_claude_api() {
    local line
    local -a lines candidates
    lines=("${(@f)$("${words[1]/#\~/$HOME}" __complete zsh "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ $lines[1] == :files ]]; then
        _files
        return
    fi
    for line in $lines; do
        candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    _describe -o claude-api candidates
}
if [[ $funcstack[1] == _claude_api ]]; then
    _claude_api "$@"
else
    compdef _claude_api claude-api
fi
