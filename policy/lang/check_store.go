package lang

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/hashicorp/go-version"

	"github.com/holdfast-io/holdfast/policy"
)

// schemes are the kinds of bucket.
var schemes = []string{"file", "s3", "gs", "azblob", "mem"}

// checkURL checks a bucket URL.
func (b *builder) checkURL(o *object, name string) {
	if !o.known(name) {
		return
	}
	at, text := o.at(name), o.text(name)
	scheme, rest, ok := strings.Cut(text, "://")
	switch {
	case !ok && (strings.HasPrefix(text, "/") || strings.HasPrefix(text, ".")):
		b.error(at, "bad_url", fmt.Sprintf("%s is a path, not a URL", name), fmt.Sprintf("Write file://%s.", text))
	case !ok:
		b.error(at, "bad_url", fmt.Sprintf("%s is not a bucket URL", name), "Write for example file:///var/backups, s3://bucket/prefix?region=eu-central-1, gs://bucket/prefix or azblob://container/prefix.")
	case !slices.Contains(schemes, scheme):
		hint := "Use " + either(schemes) + "."
		if n := nearest(scheme, schemes); n != "" {
			hint = fmt.Sprintf("Did you mean %s://?", n)
		}
		b.error(at, "bad_url", fmt.Sprintf("Unknown kind of bucket %s", quoteShort(scheme)), hint)
	case scheme == "file" && (rest == "" || rest == "/"):
		b.error(at, "bad_url", fmt.Sprintf("%s names no folder", name), "Write for example file:///var/backups/holdfast.")
	default:
		b.checkURLParts(at, name, text, scheme)
	}
}

func (b *builder) checkURLParts(at place, name, text, scheme string) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		b.error(at, "bad_url", fmt.Sprintf("%s is not a URL", name), "Escape special characters with urlencode(…).")
	case u.User != nil:
		b.config.report.errorHidden(at, "literal_secret", fmt.Sprintf("%s holds credentials", name), "A bucket URL is shown and stored. Give credentials by the cloud's own environment variables, files or roles.")
	case scheme != "file" && scheme != "mem" && u.Host == "":
		b.error(at, "bad_url", fmt.Sprintf("%s names no bucket", name), fmt.Sprintf("Write %s://bucket/prefix.", scheme))
	}
}

// checkVersion compares required_version with the running version. A development version counts as the release it becomes.
func (b *builder) checkVersion(o *object) {
	if !o.known("required_version") {
		return
	}
	at, text := o.at("required_version"), o.text("required_version")
	constraint, err := version.NewConstraint(text)
	if err != nil {
		b.error(at, "required_version", fmt.Sprintf("Bad version constraint %s", quoteShort(text)), `Write for example ">= 0.1.0" or "~> 1.2, != 1.2.3".`)
		return
	}
	running, err := version.NewVersion(b.config.options.Version)
	if err != nil {
		return // a build without a version
	}
	if !constraint.Check(running) && !constraint.Check(running.Core()) {
		b.error(at, "required_version", fmt.Sprintf("holdfast %s does not meet required_version", running), fmt.Sprintf("This configuration wants %s. Use such a version, or change required_version.", text))
	}
}

// checkEncryption checks who can read a store.
func (b *builder) checkEncryption(enc *object) {
	recipients, writers := enc.texts("recipients"), enc.texts("writers")
	none := enc.flag("none")
	switch {
	case none && (!enc.absent("recipients") || !enc.absent("writers")):
		b.error(enc.at("none"), "encryption", "none = true excludes recipients and writers", "Remove none to encrypt, or remove the others to store readable copies.")
		return
	case none:
		b.warn(enc.at("none"), "not_encrypted", "The store is not encrypted", "Everyone who can read it can read what is backed up. Make a key with `holdfast key generate` and name its recipient.")
		return
	case enc.absent("recipients") || enc.known("recipients") && len(recipients) == 0 && enc.values["recipients"].IsWhollyKnown():
		b.error(enc.at("recipients"), "encryption", "No recipients", "Nobody could read the copies. Make a key with `holdfast key generate` and name its recipient: recipients = [\"age1…\"]. To store readable copies on purpose, write none = true.")
	}
	kinds := map[bool]int{}
	for i, text := range recipients {
		if postQuantum, ok := b.checkRecipient(enc, "recipients", i, text); ok {
			kinds[postQuantum]++
		}
	}
	for i, text := range writers {
		b.checkRecipient(enc, "writers", i, text)
	}
	if len(kinds) == 2 {
		b.error(enc.at("recipients"), "encryption", "Post-quantum and other recipients do not mix", "A file readable by an age1… key is not safe from quantum computers, so age refuses the two together. Use recipients of one kind.")
	}
}

// checkRecipient parses one recipient. A secret key pasted here is never shown.
func (b *builder) checkRecipient(enc *object, name string, i int, text string) (postQuantum, ok bool) {
	at := enc.atElement(name, i)
	upper := strings.ToUpper(text)
	if strings.Contains(upper, "AGE-SECRET-KEY-") {
		b.config.secrets.add(text)
		b.config.report.errorHidden(at, "secret_key", "A secret key stands in the policy", fmt.Sprintf("%s takes public recipients (age1…). Whoever saw this file can read every copy made for this key: make a new one with `holdfast key generate` and name the recipient that it prints.", name))
		return false, false
	}
	var err error
	if postQuantum = strings.HasPrefix(text, "age1pq1"); postQuantum {
		_, err = age.ParseHybridRecipient(text)
	} else {
		_, err = age.ParseX25519Recipient(text)
	}
	if err != nil {
		b.error(at, "recipient", fmt.Sprintf("Not an age recipient: %s", quoteShort(text)), "A recipient starts with age1 and is printed by `holdfast key generate`; this one is mistyped or cut off.")
		return false, false
	}
	return postQuantum, true
}

// checkStores looks at stores together: two of them in one place would each prune what the other wrote.
func (b *builder) checkStores(objects []*object) {
	byURL := map[string]*object{}
	for _, o := range objects {
		if o.schema.Type != "store" || !o.known("url") {
			continue
		}
		key := b.sameAs(o.text("url"))
		if first := byURL[key]; first != nil {
			b.error(o.at("url"), "same_store", fmt.Sprintf("%s and %s are the same place", first.address, o.address), "Each store needs a place of its own. Use one store block, or another prefix.")
			continue
		}
		byURL[key] = o
	}
}

// sameAs brings a bucket URL into a form in which two of one place are equal. Parameters that may lead elsewhere (another
// endpoint, account or profile) count; how the place is reached does not.
func (b *builder) sameAs(text string) string {
	if path, ok := b.filePath(text); ok {
		return filepath.Clean(path)
	}
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	q := u.Query()
	for _, name := range []string{"region", "use_path_style", "s3ForcePathStyle", "accelerate", "dualstack", "fips", "ssetype", "kmskeyid"} {
		q.Del(name)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host) + "/" + strings.Trim(u.Path, "/") + "?" + q.Encode()
}

// minGrace is the shortest time between condemning and deleting: a writer that relies on a pack must have seen the marker.
const minGrace = policy.Duration(time.Hour)

// tinyCapacity is what no store is meant to stay below: a number that lost its unit is.
const tinyCapacity = 1 << 20

// checkLimits checks the amounts and times of a store.
func (b *builder) checkLimits(o *object, s policy.Store) {
	if o.known("capacity") && s.Capacity > 0 && s.Capacity < tinyCapacity {
		b.warn(o.at("capacity"), "capacity", "The capacity is tiny", fmt.Sprintf("It is %s. Is a unit missing, such as GiB?", count(int(s.Capacity), "byte")))
	}
	if o.known("prune_grace") && s.PruneGrace < minGrace {
		b.error(o.at("prune_grace"), "prune_grace", "prune_grace is too short", fmt.Sprintf("It is %s; the least is %s. A running backup that relies on a pack needs this time to notice that it was condemned.", s.PruneGrace, minGrace))
	}
}

// filePath is the folder of a file URL; a relative one is relative to the policy.
func (b *builder) filePath(text string) (string, bool) {
	rest, ok := strings.CutPrefix(text, "file://")
	if !ok {
		return "", false
	}
	rest, _, _ = strings.Cut(rest, "?")
	if plain, err := url.PathUnescape(rest); err == nil {
		rest = plain
	}
	return b.config.base(filepath.FromSlash(rest)), true
}
