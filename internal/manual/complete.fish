# fish completion for claude-api. It asks the program itself.
function __claude_api_complete
    set -l words (commandline -opc)
    set -l lines ($words[1] __complete fish $words[2..-1] "$(commandline -ct)" 2>/dev/null)
    if test "$lines[1]" = :files
        __fish_complete_path (commandline -ct)
    else
        string join \n -- $lines
    end
end
complete -c claude-api -f -a '(__claude_api_complete)'
