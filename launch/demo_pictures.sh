# Sourced by the demos, after KILN, DATASETS and die() are set: finds pictures of the MNIST family,
# and makes datasets of them.
#
#   find_pictures        sets PICTURES: KILN_DATA, else Fashion-MNIST, else handwritten digits
#   import train|t10k NAME   makes $DATASETS/NAME

FILES=(train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte)
FASHION=http://fashion-mnist.s3-website.eu-central-1.amazonaws.com
FASHION_MD5=(8d4fb7e6c68d591d4c3dfef9ec88bf0d 25c81989df183df01b3e8a0aad5dffbe
  bef4ecab320f06d8554ea6380940ec79 bb300cfdad3c16e7a12a480ee83cd310)

has_idx_files() {
  local file
  for file in "${FILES[@]}"; do [[ -e "$1/$file" || -e "$1/$file.gz" ]] || return 1; done
}

download_fashion() {  # into $1
  command -v curl >/dev/null || return 1
  mkdir -p "$1"
  local i
  for i in "${!FILES[@]}"; do
    curl -fsSL --connect-timeout 5 --max-time 60 -o "$1/${FILES[$i]}.gz" "$FASHION/${FILES[$i]}.gz" &&
      echo "${FASHION_MD5[$i]}  $1/${FILES[$i]}.gz" | md5sum --status -c || { rm -rf "$1"; return 1; }
  done
}

# Handwritten digits, 8 x 8, that every scikit-learn wheel carries.
download_digits() {  # into $1
  local wheels
  wheels=$(mktemp -d)
  [[ -x .deps/pip/bin/python ]] || python3 -m venv .deps/pip
  .deps/pip/bin/python -m pip -q --disable-pip-version-check download --no-deps \
    --only-binary :all: -d "$wheels" scikit-learn &&
    python3 launch/digits_to_idx.py "$wheels"/*.whl "$1"
  local status=$?
  rm -rf "$wheels"
  return $status
}

find_pictures() {
  if [[ -n "${KILN_DATA:-}" ]]; then
    has_idx_files "$KILN_DATA" || die "KILN_DATA=$KILN_DATA lacks one of: ${FILES[*]} (or .gz)"
    PICTURES=$KILN_DATA
  elif has_idx_files ../shared/data/fashion-mnist; then
    PICTURES=../shared/data/fashion-mnist
  elif has_idx_files datasets/download/fashion-mnist || download_fashion datasets/download/fashion-mnist; then
    PICTURES=datasets/download/fashion-mnist
  else
    echo "Fashion-MNIST cannot be reached; taking the handwritten digits of scikit-learn"
    PICTURES=datasets/download/digits
    has_idx_files "$PICTURES" || download_digits "$PICTURES" ||
      die "no pictures: neither Fashion-MNIST nor PyPI answers. Put the files of MNIST into a folder" \
        "and name it: KILN_DATA=/folder bash launch/demo.sh"
  fi
}

first_of() { if [[ -e "$1" ]]; then echo "$1"; else echo "$1.gz"; fi; }

import() {  # $1: train | t10k, $2: name
  [[ -e "$DATASETS/$2/dataset.json" ]] && return
  rm -rf "${DATASETS:?}/$2"
  "$KILN" data import idx "$(first_of "$PICTURES/$1-images-idx3-ubyte")" \
    "$(first_of "$PICTURES/$1-labels-idx1-ubyte")" --out "$DATASETS/$2"
}
