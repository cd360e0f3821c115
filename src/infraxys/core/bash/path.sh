# Programs in the project's cache come first, then those of shared caches, then the system's.
#
# shellcheck shell=bash

__infraxys_paths=()
if [[ -d /cache/project ]]; then
    [[ -d /cache/project/bin || ! -w /cache/project ]] || mkdir -p /cache/project/bin
    __infraxys_paths+=(/cache/project/bin)
fi
for __infraxys_now in /cache/projects/*/bin; do
    [[ ! -d $__infraxys_now ]] || __infraxys_paths+=("$__infraxys_now")
done
for ((__infraxys_item = ${#__infraxys_paths[@]}; __infraxys_item > 0; __infraxys_item--)); do
    PATH=${__infraxys_paths[__infraxys_item - 1]}:$PATH
done
