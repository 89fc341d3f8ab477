# bash completion for claude-api. It asks the program itself.
_claude_api() {
    local line program=${COMP_WORDS[0]/#\~/$HOME}
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o default 2>/dev/null
            return
        fi
        COMPREPLY+=("${line%%$'\t'*}")
    done < <("$program" __complete bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _claude_api claude-api
