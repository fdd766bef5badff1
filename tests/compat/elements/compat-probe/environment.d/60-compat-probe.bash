# Counted per phase, so that a second evaluation in one phase shows
export PROBE_SOURCED="${PROBE_SOURCED:-}x"
export PROBE_QUOTED=$'two\nlines, "quotes", \x27single\x27, $dollar and \\backslash'
export PROBE_EMPTY=""
PROBE_NOT_EXPORTED=1
export PROBE_WHERE="$(pwd) $(id -u) ${BASH_SOURCE[0]##*/}"
export PROBE_BUILD_DEFAULT=${DIB_DEFAULT_INSTALLTYPE:-unset}
probe_function() { echo "a function of environment.d"; }
export -f probe_function
