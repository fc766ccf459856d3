@restaurant
Feature: Changing the menu
  A restaurant may change its menu at any time. New orders are taken at the new prices; those that have been placed keep
  the old ones.

  Background:
    Given the consumer "Ada"
    And the restaurant "Ajanta" with the menu:
      | dish             | price |
      | Chicken Vindaloo | 12.34 |
      | Garlic Naan      | 3.50  |

  Rule: The new menu replaces the old one

    @command
    Scenario: Changing the menu
      When "Ajanta" changes its menu to:
        | dish             | price |
        | Chicken Vindaloo | 13.00 |
        | Saag Paneer      | 10.50 |
      Then the menu of "Ajanta" is:
        | dish             | price |
        | Chicken Vindaloo | 13.00 |
        | Saag Paneer      | 10.50 |

    @command
    Scenario: A restaurant that does not exist has no menu to change
      Given the restaurant "Nowhere", which does not exist
      When "Nowhere" changes its menu to:
        | dish        | price |
        | Saag Paneer | 10.50 |
      Then it is refused because "restaurant not found"

    @command
    Scenario: A menu with the same dish twice is refused, and the old one stays
      When "Ajanta" changes its menu to:
        | dish        | price |
        | Saag Paneer | 10.50 |
        | Saag Paneer | 11.50 |
      Then it is refused because the menu is not valid
      And the menu of "Ajanta" is:
        | dish             | price |
        | Chicken Vindaloo | 12.34 |
        | Garlic Naan      | 3.50  |

    @command
    Scenario: A menu with a negative price is refused, and the old one stays
      When "Ajanta" changes its menu to:
        | dish        | price |
        | Saag Paneer | -0.01 |
      Then it is refused because the price is not valid
      And the menu of "Ajanta" is:
        | dish             | price |
        | Chicken Vindaloo | 12.34 |
        | Garlic Naan      | 3.50  |

  Rule: New orders follow the new menu

    @policy
    Scenario: A new order is taken at the new price
      Given "Ajanta" has changed its menu to:
        | dish             | price |
        | Chicken Vindaloo | 15.00 |
      When "Ada" orders at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 2        |
      Then the order is approved
      And the order costs $30.00
      And "Ada" has $30.00 authorized

    @policy
    Scenario: A new dish can be ordered
      Given "Ajanta" has changed its menu to:
        | dish        | price |
        | Saag Paneer | 10.50 |
      When "Ada" orders at "Ajanta":
        | dish        | quantity |
        | Saag Paneer | 1        |
      Then the order is approved
      And the order contains:
        | dish        | price | quantity |
        | Saag Paneer | 10.50 | 1        |

    @policy
    Scenario: A dish that is gone can't be ordered any more
      Given "Ajanta" has changed its menu to:
        | dish             | price |
        | Chicken Vindaloo | 12.34 |
      When "Ada" orders at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      Then it is refused because "menu item not found"

  Rule: Orders that have been placed keep their prices

    @policy
    Scenario: A placed order costs what it did
      Given "Ada" has ordered at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
      When "Ajanta" changes its menu to:
        | dish             | price |
        | Chicken Vindaloo | 15.00 |
      Then the order costs $12.34
      And "Ada" has $12.34 authorized

    @policy
    Scenario: A placed order is revised at its own prices, even of dishes that are gone
      Given "Ada" has ordered at "Ajanta":
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
        | Garlic Naan      | 1        |
      And "Ajanta" has changed its menu to:
        | dish             | price |
        | Chicken Vindaloo | 15.00 |
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 3        |
      Then the order costs $22.84
      And the order is approved
