# Arguments of a suite, for sourcing: --list calls the suite's `list`, --help prints the comment at the
# head of its script; anything else is the names of its tests, in `names`.
# shellcheck shell=bash disable=SC2034 # names is the script's
case ${1:-} in
    --list)
        list
        exit
        ;;
    -h | --help)
        sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'
        exit
        ;;
esac
names=("$@")
