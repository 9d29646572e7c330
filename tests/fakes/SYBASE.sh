# shellcheck shell=sh disable=SC2154
# A fake of the profile of SAP ASE.
PATH=$sybase:$PATH
