"""Scrape: from lists of addresses to a collection of images of one's own, safely and politely."""
