"""Documents from elsewhere: pages by URL, sites, and connected sources that are kept in step."""
