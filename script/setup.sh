# Sourced by the other scripts, from the top of the repository: makes .venv, the project's own
# Python environment, and installs what is missing, in it and (as root, on Debian and Ubuntu) in the
# system. What is there already is left alone, so that a second run costs nothing.
# shellcheck shell=bash

VENV=.venv
PY=$VENV/bin/python

say() { printf '\n== %s\n' "$*" >&2; }

die() {
    printf '%s: %s\n' "$0" "$*" >&2
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

# Install those of the named Debian packages that are missing. Where we cannot, say so and go on.
need_packages() {
    local missing=() package
    command -v dpkg-query >/dev/null || return 0
    for package; do
        case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
            installed) ;;
            *) missing+=("$package") ;;
        esac
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! is_root; then
        printf 'not installed, and only root can: apt-get install %s\n' "${missing[*]}" >&2
        return 0
    fi
    say "apt-get install ${missing[*]}"
    local told
    # A list that cannot be brought up to date is no fault where the packages can still be had.
    if ! told=$(
        apt-get update -qq 2>&1
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" 2>&1
    ); then
        printf '%s\n' "$told" >&2
        return 1
    fi
}

# Can this Python make environments, and is it new enough? ensurepip is what Debian leaves out.
python_serves() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null && python_serves "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# The environment with iptkit in it, editable: what runs is the code that stands here.
make_venv() {
    # An environment knows where it stands: one that was moved, with its checkout, is made anew.
    if ! { [ -x $PY ] && python_serves $PY && grep -qF "$(pwd -P)/$VENV" $VENV/pyvenv.cfg; }; then
        local python
        if ! python=$(find_python); then
            need_packages python3-venv || true
            # Ubuntu 22.04 has 3.11 beside its own, older one.
            python=$(find_python) || need_packages python3.11-venv || true
            python=$(find_python) ||
                die "needs Python 3.11 or later with venv: apt-get install python3-venv (or set PYTHON)"
        fi
        say "making $VENV with $python"
        rm -rf $VENV
        "$python" -m venv "$(pwd -P)/$VENV"
    fi
    # A certificate bundle or an index that the machine needs is set in pip's own configuration.
    install_once project -e .
}

# install_once NAME PIP-ARGUMENT...: pip install, unless the same was done since pyproject.toml changed.
install_once() {
    local stamp=$VENV/installed-$1 wanted
    shift
    wanted=$({ printf '%s\n' "$@"; cat pyproject.toml; } | cksum)
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
    say "pip install $*"
    $PY -m pip install --quiet --disable-pip-version-check "$@" >&2 || return
    printf '%s\n' "$wanted" >"$stamp"
}

# The tools of [dependency-groups], in the versions pinned there. (pip reads groups itself since 25.1.)
install_tools() {
    local tools
    mapfile -t tools < <($PY -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["dependency-groups"]["dev"], sep="\n")')
    install_once tools "${tools[@]}"
}
