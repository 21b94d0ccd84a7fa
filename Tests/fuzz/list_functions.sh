#!/bin/sh
# list_functions.sh <taskmet.h> <directory>: what calls.c knows of the header, without the prefix taskmet_:
#   functions.inc  a line {"name", " parameter parameter "}, for each function
#   fields.inc     one string with the fields of all structs, " field field "
set -eu
out=$2

# The header on one line, without comments, cut behind each ; { and }.
text=$(tr '\n' ' ' <"$1" | sed -e 's|/\*|\n/*|g; s|\*/|*/\n|g' | sed -e '/^\/\*.*\*\/$/d' | tr '\n' ' ' |
    sed -e 's/;/;\n/g; s/{/{\n/g; s/}/}\n/g')

printf '%s\n' "$text" | grep -E '^[[:space:]]*(const )?[a-z_0-9]+ \*?taskmet_[a-z0-9_]+\(.*\);' |
    sed -e 's/(\*\([a-z_]*\))([^)]*)/ \1/g' |
    sed -nE 's/^[^(]*taskmet_([a-z0-9_]+)\((.*)\);.*$/\1 \2,/p' |
    while read -r name parameters; do
        words=$(printf '%s' "$parameters" | sed -E 's/ *,/\n/g' | sed -E 's/.*[ *]([a-z_0-9]+)$/\1/' | tr '\n' ' ')
        printf '{"%s", " %s"},\n' "$name" "$words"
    done >"$out/functions.inc"

fields=$(printf '%s\n' "$text" | sed -nE '/typedef struct [a-z_]+ \{/,/\}/p' | grep ';' |
    sed -E 's/\(\*([a-z_]*)\)\(.*\)/ \1/' | grep -oE '[a-z_0-9]+ *[,;]' | tr -d ' ,;' | sort -u | tr '\n' ' ')
printf '" %s"\n' "$fields" >"$out/fields.inc"
