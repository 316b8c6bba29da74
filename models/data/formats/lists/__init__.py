"""Lists of images: separated text, workbooks, parquet, and what their columns mean."""
