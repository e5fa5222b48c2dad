package manifest

// Header opens a manifest: whose it is and what the commit said of it.
type Header struct {
	Format        string `json:"format"`
	FormatVersion int    `json:"format_version"`
	Repository    string `json:"repository"`
	Address       string `json:"address"`
	Point         string `json:"point"`
	Items         int64  `json:"items"`
	Size          int64  `json:"size"` // plain bytes of all entries
	Info
}
